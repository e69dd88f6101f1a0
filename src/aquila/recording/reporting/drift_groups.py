"""Groups the requests that have drifted by what differs, and says for each group what cures it.

The same rows give the same groups in the same order, whichever worker found them.
"""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from aquila.cassettes.matching.fresh_values import KIND_BY_NAME
from aquila.plurals import count_of, join_with_and
from aquila.shell_words import join_words, quote_word

Row: TypeAlias = Mapping[str, Any]
"""A request as ``drift_watch`` describes it, and the ``test`` that makes it, as it is typed."""

_MOST_TESTS = 10
_MOST_CHANGES = 6

_REASONS = {
    "another": "no recording has the method and path of {method} {path}",
    "played_out": "asked more often than it was recorded",
}


def make_report(rows: Iterable[Row], pytest: str = "pytest") -> dict[str, Any]:
    """Return what drifted, as JSON can hold it: ``groups``, ``unrecorded`` tests, and all ``requests``.

    ``pytest`` is how commands begin, with the options that they need.
    """
    requests = sorted(rows, key=_order_of)
    groups: dict[str, list[Row]] = {}
    without: dict[tuple[str, str], Row] = {}
    for row in requests:
        if row["kind"] in ("unrecorded", "without_cassette"):
            without.setdefault((row["test"], row["kind"]), row)
        else:
            groups.setdefault(row["group"], []).append(row)
    made = [_make_group(rows, pytest) for rows in groups.values()]
    return {
        "pytest": pytest,
        "groups": sorted(made, key=lambda group: (-len(group["tests"]), group["tests"])),
        "unrecorded": [
            {
                "test": row["test"],
                "cassette": row["cassette"] or None,
                "reason": row["kind"],
                "record": record_command([row["test"]], pytest=pytest),
            }
            for row in without.values()
        ],
        "requests": [dict(row) for row in requests],
    }


def _order_of(row: Row) -> tuple[str, ...]:
    recording = f"{row['recording'] or 0:09}"
    return (row["test"], row["cassette"], recording, row["kind"], row["group"], row["url"], json.dumps(row))


def _make_group(rows: Sequence[Row], pytest: str) -> dict[str, Any]:
    first = rows[0]
    tests = list(dict.fromkeys(row["test"] for row in rows))
    # Only those that cure every request of the group.
    settings = [each for each in first["settings"] if all(each in row["settings"] for row in rows)]
    return {
        "kind": first["kind"],
        "tests": tests,
        "requests": len(rows),
        # Values that are new in every run say nothing about the group.
        "changes": [
            {**change, "recorded": None, "now": None} if change["new_in_every_run"] else change
            for change in first["changes"]
        ],
        "reason": _describe_reason(first),
        "settings": ["\n".join(each) for each in settings],
        "record": record_command(tests, pytest=pytest),
    }


def _describe_reason(row: Row) -> str | None:
    text = _REASONS.get(row["kind"])
    return text and text.format(method=row["method"], path=row["url"].partition("?")[0])


def record_command(tests: Sequence[str], width: int = 0, *, pytest: str = "pytest") -> str:
    """Return a command for a shell that records tests again. It begins with ``pytest``.

    With a ``width``, its lines have at most so many characters if possible. For that, it names the tests, else their
    files, else nothing, which records everything. A line that is continued ends with a backslash. The shells of Windows
    have no common sign for that, so there it is always one line.
    """
    files = list(dict.fromkeys(test.partition("::")[0] for test in tests))
    choices = [tests, files] if len(tests) <= _MOST_TESTS else [files]
    lines = [f"{pytest} {join_words(each)} --aquila-record" for each in choices]
    if not width or sys.platform == "win32":
        return lines[0]
    found = next((line for line in lines if len(line) <= width), None)
    if found is not None:
        return found
    for each in choices:
        words = [quote_word(word) for word in each]
        if len(each) <= _MOST_TESTS and all(len(word) + 4 <= width for word in words):
            return " \\\n".join([pytest, *(f"  {word}" for word in words), "  --aquila-record"])
    return f"{pytest} --aquila-record"


def describe_report(report: Mapping[str, Any], width: int) -> Iterator[str]:
    """Write a report as lines of at most ``width`` characters, if the names and settings in it are not longer."""
    groups, unrecorded = report["groups"], report["unrecorded"]
    if not groups and not unrecorded:
        yield "drift: none"
        return
    if groups:
        tests = {test for group in groups for test in group["tests"]}
        yield f"drift: {count_of(len(tests), 'test')}, {count_of(len(groups), 'change')}"
    for group in groups:
        yield ""
        yield from _describe_group(group, width, report["pytest"])
    if unrecorded:
        if groups:
            yield ""
        yield from _describe_unrecorded(unrecorded, width, report["pytest"])


def _describe_group(group: Mapping[str, Any], width: int, pytest: str) -> Iterator[str]:
    tests, settings = group["tests"], [each.split("\n") for each in group["settings"]]
    is_fresh = bool(group["changes"]) and all(each["new_in_every_run"] for each in group["changes"])
    again = "if it changed once, record again" if is_fresh and settings else "record again"
    head = count_of(len(tests), "test")
    changes = [group["reason"]] if group["reason"] else [_describe_change(each) for each in group["changes"]]
    command = record_command(tests, pytest=pytest)
    if len(changes) == 1 and all(len(lines) == 1 for lines in settings):
        cures = ", or ".join([*(lines[0] for lines in settings), f"{again}: {command}"])
        line = f"{head}: {changes[0]}: {cures}"
        if len(line) <= width:
            yield line
            return
    yield from textwrap.wrap(f"{head}: {changes[0]}", width, subsequent_indent="    ", break_on_hyphens=False)
    for each in changes[1:_MOST_CHANGES]:
        yield from textwrap.wrap(
            each, width, initial_indent="    and ", subsequent_indent="    ", break_on_hyphens=False
        )
    if len(changes) > _MOST_CHANGES:
        yield f"    and {len(changes) - _MOST_CHANGES} more"
    for number, lines in enumerate(settings):
        yield f"  {'or ' if number else ''}{lines[0]}"
        yield from (f"  {line}" for line in lines[1:])
    alternative = ("or, " if is_fresh else "or ") if settings else ""
    yield from _describe_command(alternative + again, tests, width, pytest)


def _describe_command(lead: str, tests: Sequence[str], width: int, pytest: str) -> Iterator[str]:
    command = record_command(tests, max(width - 4, 20), pytest=pytest)
    line = f"  {lead}: {command}"
    if "\n" not in command and len(line) <= width:
        yield line
    else:
        yield f"  {lead}:"
        yield from (f"    {each}" for each in command.split("\n"))


def _describe_change(change: Mapping[str, Any]) -> str:
    kinds = change["new_in_every_run"]
    if kinds:
        called = join_with_and([KIND_BY_NAME[kind].called for kind in kinds])
        return f"{change['path']} has {called} that {'is' if len(kinds) == 1 else 'are'} new in every run"
    return f"{change['path']} recorded {change['recorded']}, now {change['now']}"


def _describe_unrecorded(unrecorded: Sequence[Mapping[str, Any]], width: int, pytest: str) -> Iterator[str]:
    leads = (
        ("unrecorded", "with nothing recorded for what is asked", "record it"),
        (
            "without_cassette",
            "without a cassette for what is asked: take the fixture aquila_cassette, or mark it @pytest.mark.aquila",
            "then record it",
        ),
    )
    for reason, what, lead in leads:
        tests = [row["test"] for row in unrecorded if row["reason"] == reason]
        if not tests:
            continue
        yield from textwrap.wrap(f"{count_of(len(tests), 'test')} {what}", width)
        yield from (f"    {test}" for test in tests[:_MOST_TESTS])
        if len(tests) > _MOST_TESTS:
            yield f"    … and {len(tests) - _MOST_TESTS} more"
        yield from _describe_command(lead, tests, width, pytest)
