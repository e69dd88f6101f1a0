"""The news in the totals of a run. The last line of the summary is made in ``end_of_run``."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from aquila.plurals import count_of, number_of
from aquila.recording import runtime
from aquila.recording.sessions.played_recordings import MESSAGES_OF
from aquila.recording.storing.pending_files import shown_path
from pytest_aquila.summary import miss_report, pending_report
from pytest_aquila.summary.record_commands import record_command
from pytest_aquila.summary.run_news import News, NewsKind

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_aquila.summary.pending_report import PendingFile
    from pytest_aquila.summary.run_totals import RunTotals

_MOST_COMMANDS = 2
_MOST_NAMED = 10
"""How many renames are named with ``-v``; each miss names its own."""


def describe_totals(
    totals: RunTotals, waiting: Sequence[PendingFile], width: int, *, just_failed: bool
) -> Iterator[News]:
    """Yield the news in the totals.

    ``waiting`` are the pending files beside the cassettes of the run. ``width`` is that of the terminal, in characters.
    ``just_failed`` says that pytest knows which tests have failed.
    """
    yield from _group(NewsKind.NOT_STORED, totals.unstored, "not stored: ")
    yield from _group(NewsKind.NOT_TAKEN_OVER, totals.unrecovered)
    is_recording = runtime.current_settings().transport == "record"
    yield from miss_report.describe_misses(totals, width, just_failed=just_failed, is_recording=is_recording)
    yield from _group(NewsKind.UNHEARD, totals.unheard, "refused when no test could fail for it any more: ")
    yield from _describe_notes(totals.notes)
    yield from _group(NewsKind.UNGUARDED, dict.fromkeys(totals.unguarded))
    yield from _group(NewsKind.REFUSED, dict.fromkeys(totals.refused))
    yield from pending_report.describe_pending(waiting)
    yield from pending_report.describe_superseded(totals)
    yield from _describe_stale(totals.stale, width)
    yield from _describe_unplayed(totals.unplayed, width)
    yield from _describe_emptied(totals.emptied, width)
    yield from _describe_unasked(totals.unasked)
    yield from _group(NewsKind.SENTENCE, dict.fromkeys(totals.sentences))
    yield from _describe_second_runs(totals.anew)
    if totals.recovered:
        count, rows = sum(count for _, count in totals.recovered), totals.recovered
        text = f"took over {count_of(count, 'recording')} of an interrupted run into"
        names = [path if len(rows) == 1 else f"{path} ({count})" for path, count in rows]
        yield News(NewsKind.TOOK_OVER, text, names)


def describe_drifted(drifted: Sequence[Mapping[str, Any]]) -> News:
    """Return news about requests that a recording of another content answered, because matchers compare no bodies."""
    requests, where = count_of(len(drifted), "request"), count_of(len({row["test"] for row in drifted}), "test")
    # In a narrow terminal the part before the comma is a line of its own.
    text = (
        f"{requests} in {where} {'has' if len(drifted) == 1 else 'have'} another content than recorded, which the "
        "matchers of the suite do not compare"
    )
    return News(NewsKind.CONTENTS_DIFFER, text, lead="To see which:", command="aquila cassettes drift")


def describe_waiting(waiting: Sequence[tuple[str, int]], folder: Path) -> Iterator[News]:
    """Yield news about journals under ``folder``. ``waiting`` are their cassettes with numbers of recordings."""
    if waiting:
        count = sum(count for _, count in waiting)
        them = "it" if count == 1 else "them"
        yield News(
            NewsKind.WAITS_IN_JOURNALS,
            f"{number_of(count, 'recording waits', 'recordings wait')} in {shown_path(folder)}",
            names=[f"{name} ({count})" for name, count in waiting],
            lead=f"The next recording run (pytest --aquila-record) takes {them} over; to do it now:",
            command="aquila cassettes accept",
        )


def _group(kind: NewsKind, sentences: Iterable[str], lead: str = "") -> Iterator[News]:
    """Yield the sentences as one piece of news: a single one unchanged, or the first and the number of others."""
    counted = collections.Counter(iter(sentences))  # `iter`, because `Counter` would read a dict as counts
    unique = [f"{text} ({count} processes)" if count > 1 else text for text, count in counted.items()]
    if len(unique) == 1:
        yield News(kind, lead + unique[0])
    elif unique:
        yield News(kind, f"{lead}{unique[0].rstrip('.')} (and {len(unique) - 1:,} more)", details=unique[1:])


def _describe_notes(notes: Iterable[tuple[str, str]]) -> Iterator[News]:
    unique = list(dict.fromkeys(notes))
    renamed = [News(NewsKind.RENAMED, sentence, command=command) for sentence, command in unique if command]
    if len(renamed) > _MOST_COMMANDS:
        others = [f"  {each.command}" for each in renamed[1:_MOST_NAMED]]
        others += [f"  and {len(renamed) - _MOST_NAMED:,} more"] if len(renamed) > _MOST_NAMED else []
        text = f"{renamed[0].text.partition('.')[0]}: {len(renamed):,} renames?"  # the end of a longer one is cut off
        yield renamed[0]._replace(text=text, details=others)
    else:
        yield from renamed
    yield from (News(NewsKind.NOTED, sentence) for sentence, command in unique if not command)


def _describe_stale(rows: Iterable[tuple[str, str, str]], width: int) -> Iterator[News]:
    unique = list(dict.fromkeys(rows))
    if unique:
        oldest = min(recorded for _, recorded, _ in unique)
        yield News(
            NewsKind.STALE,
            f"{number_of(len(unique), 'test plays', 'tests play')} recordings that are old (from {oldest})",
            names=[name for name, _, _ in unique],
            lead="To make them anew:",
            command=record_command(list(dict.fromkeys(test for *_, test in unique)), width - 2),
            details=[f"{name} (from {recorded})" for name, recorded, _ in unique],
        )


def _describe_unplayed(rows: Iterable[tuple[str, str, str, str]], width: int) -> Iterator[News]:
    unique = list(dict.fromkeys(rows))
    if unique:
        tests = list(dict.fromkeys(test for *_, test in unique))
        begun = any(MESSAGES_OF in what for _, _, what, _ in unique)
        option = "--aquila-record=all" if begun else "--aquila-record"
        yield News(
            NewsKind.UNPLAYED,
            f"{count_of(len(tests), 'test')} did not play all of {'its' if len(tests) == 1 else 'their'} recordings",
            names=[f"{name} ({what} of {cassette})" for name, cassette, what, _ in unique],
            lead="To drop what is not played:",
            command=record_command(tests, width - 2, option=option),
        )


def _describe_emptied(tests: Sequence[str], width: int) -> Iterator[News]:
    """Yield the news about the tests that asked for nothing in a recording run, and had recordings before."""
    if tests:
        one = "test asked for nothing, so its cassette is removed"
        several = "tests asked for nothing, so their cassettes are removed"
        yield News(
            NewsKind.EMPTIED,
            number_of(len(tests), one, several),
            names=tests,
            lead="If a cache has answered that another test had filled, empty it before each test, and record again:",
            command=record_command(tests, width - 2),
        )


def _describe_unasked(requests: Iterable[str]) -> Iterator[News]:
    unique = list(dict.fromkeys(requests))
    if unique:
        one = "request that no test had started failed as without a network"
        several = "requests that no test had started failed as without a network"
        yield News(
            NewsKind.UNASKED,
            number_of(len(unique), one, several),
            names=unique,
            lead="Name it in aquila_side_requests to hear no more of it, or its host in aquila_ignore_hosts to let it "
            "through",
        )


def _describe_second_runs(rows: Iterable[tuple[str, str]]) -> Iterator[News]:
    unique = list(dict.fromkeys(rows))
    tests = unique[0][0] if len(unique) == 1 else f"{len(unique):,} tests"
    text = f"{tests} ran twice: a conversation was recorded anew from its beginning"
    if len(unique) == 1:
        yield News(NewsKind.RAN_TWICE, f"{text}, because in its middle {unique[0][1]}")
    elif unique:
        details = [f"{test}: in its middle {reason}" for test, reason in unique]
        yield News(NewsKind.RAN_TWICE, text, [test for test, _ in unique], details=details)
