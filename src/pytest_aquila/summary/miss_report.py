"""News about the tests that miss: their number, the change that causes it, and a command that records them again."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias

from aquila.plurals import number_of
from pytest_aquila.summary.record_commands import record_command
from pytest_aquila.summary.run_news import News, NewsKind

if TYPE_CHECKING:
    from pytest_aquila.summary.run_totals import RunTotals

ChangedRequest: TypeAlias = tuple[str, str, str | None, str]
"""The identity of a change, the lines that show it, the setting that cures it (see ``UnansweredRequest.cure``), and the
id of the test as users type it."""

Group: TypeAlias = tuple[str, list[str]]
"""The lines that show a change, and the tests that miss because of it."""


def describe_misses(totals: RunTotals, width: int, *, just_failed: bool, is_recording: bool) -> Iterator[News]:
    """Yield the news about the tests that missed.

    ``width`` is that of the terminal. ``just_failed`` says that pytest knows these tests as those that failed last. In
    a run that ``is_recording`` each miss has another reason, and the failure of the test says what to type.
    """
    yield from _describe_unscripted(list(dict.fromkeys(totals.unscripted)))
    yield from _describe_too_short(list(dict.fromkeys(totals.too_short)), width - 2)
    tests = list(dict.fromkeys(totals.missing))
    if not tests:
        return
    groups = group_by_change(totals.changed)
    news = News(
        NewsKind.MISSES,
        _describe_in_short(tests, groups),
        groups[0][1] if groups else tests,  # no other tests, because they do not miss by this change
        details=list(_describe_in_full(tests, groups)),
        most_names=2,
        joint=" in" if groups else ":",
        title=_count_missing(tests),
    )
    if not is_recording:
        lead, to_record = _advise(tests, totals.changed)
        knows = just_failed and len(to_record) == len(tests)
        news = news._replace(command=record_command(to_record, width - 2, just_failed=knows), lead=lead)
    yield news


def _advise(tests: Sequence[str], changed: Sequence[ChangedRequest]) -> tuple[str, Sequence[str]]:
    """Return the sentence before the command that records, and the tests that the command is for.

    If a value that differs may be new in every run, a new recording would miss again, so a setting is named first.
    """
    settings = {cure for *_, cure, _ in changed if cure is not None}
    cured = {test for *_, cure, test in changed if cure is not None}
    if not cured:
        return "If it is meant:" if changed else "To record:", tests
    if len(settings) == 1 and "" not in settings:
        new = f"new in every run: {next(iter(settings))}"
    else:
        new = f"new in every run, {'its failure names' if len(cured) == 1 else 'their failures name'} the setting"
    others = [test for test in tests if test not in cured]
    if not others:
        return f"If it is {new}. If it is meant:", tests
    some = "one of them" if len(cured) == 1 else f"{len(cured):,} of them"
    return f"If what differs in {some} is {new}. To record the others, if that is meant:", others


def _describe_unscripted(tests: Sequence[str]) -> Iterator[News]:
    """Yield the news about the tests whose scripts had no answer. No recording cures them."""
    if tests:
        what = number_of(len(tests), "test asks what its script", "tests ask what their scripts")
        yield News(NewsKind.MISSES, f"{what} cannot answer", tests, details=list(tests), most_names=2)


def _describe_too_short(tests: Sequence[str], width: int) -> Iterator[News]:
    """Yield the news about the tests that read more than a recorded answer has. Only a new recording helps."""
    if tests:
        yield News(
            NewsKind.MISSES,
            f"{number_of(len(tests), 'test reads', 'tests read')} on where a recorded answer ends",
            tests,
            details=list(tests),
            most_names=2,
            command=record_command(tests, width, option="--aquila-record=all"),
            lead="If it is meant:",
        )


def group_by_change(changed: Sequence[ChangedRequest]) -> list[Group]:
    """Return the changes, each with its tests, which are named once. The change with the most tests comes first."""
    groups: dict[str, tuple[str, dict[str, None]]] = {}
    for group, difference, _, test in changed:
        groups.setdefault(group, (difference, {}))[1][test] = None
    return sorted(((shown, list(tests)) for shown, tests in groups.values()), key=lambda each: -len(each[1]))


def _count_missing(tests: Sequence[str]) -> str:
    return number_of(len(tests), "test misses", "tests miss")


def _describe_in_short(tests: Sequence[str], groups: Sequence[Group]) -> str:
    if not groups:
        return f"{number_of(len(tests), 'test asks', 'tests ask')} what is not recorded"
    miss = _count_missing(tests)
    difference, first = groups[0]
    shown = _in_one_line(difference)
    if len(tests) == 1:
        return f"{miss}: {shown}"
    if len(first) == len(tests):
        return f"{miss} by the same change: {shown}"
    if len(first) == 1:
        return f"{miss} for different reasons, such as {shown}"
    return f"{miss}, {len(first):,} of them by the same change: {shown}"


def _describe_in_full(tests: Sequence[str], groups: Sequence[Group]) -> Iterator[str]:
    """Yield lines for ``-v``: each change, with its tests."""
    listed: set[str] = set()
    for difference, missing in groups:
        yield difference
        yield from (f"  {test}" for test in missing)
        listed.update(missing)
    others = [test for test in tests if test not in listed]
    if groups and others:
        yield "not recorded:"
    yield from (f"  {test}" for test in others)


def _in_one_line(difference: str) -> str:
    """Return the difference between two requests in one line instead of three."""
    line = re.sub(r"\n +recorded +", " recorded ", difference)
    line = re.sub(r"\n +now +", ", now ", line)
    first, *others = line.splitlines()
    return f"{first}, and {len(others)} more" if others else first
