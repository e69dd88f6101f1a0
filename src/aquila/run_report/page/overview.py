"""The overview of a run on the page: a row for each test, and what the rows and totals do not tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, NotRequired, TypedDict

from aquila.run_report.bodies import read_body
from aquila.run_report.schema import Exchange, RunReport, Test, Text
from aquila.run_report.totals import identity_of, is_asked, model_of, usage_of

_LONGEST_REASON = 160
WRONG = ("failed", "error", "interrupted")


class OverviewRow(TypedDict):
    """A test in the list. ``number`` is its index in the report, ``size`` the bytes of its requests and answers.

    ``why`` is the line of a failure that says what is wrong.
    """

    number: int
    id: str
    file: str
    outcome: str
    attempt: int
    took: int
    states: list[str]
    hosts: list[str]
    models: list[str]
    requests: int
    tokens: int
    size: int
    recorded: NotRequired[str]
    groups: NotRequired[list[str]]
    why: NotRequired[str]
    attempts: list[int]


class Cause(TypedDict):
    """A change that requests of one or more tests share. ``tests`` are their numbers, ``paths`` the changed fields."""

    group: str
    tests: list[int]
    requests: int
    paths: list[str]
    example: dict[str, Any]


class Overview(TypedDict):
    """The contents of the overview. ``states`` counts requests, and recordings that were not played."""

    rows: list[OverviewRow]
    states: dict[str, int]
    causes: list[Cause]


def make_overview(report: RunReport, add: Callable[[Any], Any] = lambda drift: drift) -> Overview:
    """Sum up a run. Of a test that ran several times, its last attempt counts.

    Args:
        report: The run.
        add: Completes a drift that is shown as the example of a cause.

    Returns:
        The rows in the order of the report, and the sums.
    """
    tests = report["tests"]
    attempts: dict[str, list[int]] = {}
    for number, test in enumerate(tests):
        attempts.setdefault(identity_of(test), []).append(number)
    rows = [_make_row(tests[numbers[-1]], numbers) for numbers in attempts.values()]
    _tell_apart(rows)
    for row in rows:
        failure = _read(report, tests[row["number"]].get("failure", ""))
        if row["outcome"] in WRONG and failure.strip():
            row["why"] = find_reason(failure)
    last = [tests[row["number"]] for row in rows]
    return {
        "rows": rows,
        "states": dict(Counter(state for test in last for one in test["exchanges"] for state in one["states"])),
        "causes": _find_causes(tests, [row["number"] for row in rows], add),
    }


def _tell_apart(rows: list[OverviewRow]) -> None:
    """Add numbers to equal ids of tests, because links use the ids."""
    known: set[str] = set()
    for row in rows:
        name, number = row["id"], 1
        while row["id"] in known:
            number += 1
            row["id"] = f"{name} ({number})"
        known.add(row["id"])


def _read(report: RunReport, text: Text) -> str:
    return text if isinstance(text, str) else read_body(report["bodies"].get(text["key"], {})) or ""


def find_reason(failure: str) -> str:
    """Return the line of a failure that says what is wrong: the first that pytest marks with E, or the last line."""
    lines = [line.strip() for line in failure.splitlines() if line.strip()]
    marked = [line[1:].strip() for line in lines if line.startswith("E ")]
    return (marked or lines[-1:])[0][:_LONGEST_REASON]


def _make_row(test: Test, numbers: list[int]) -> OverviewRow:
    exchanges = [exchange for exchange in test["exchanges"] if is_asked(exchange)]
    row: OverviewRow = {
        "number": numbers[-1],
        "id": test["id"],
        "file": test["file"],
        "outcome": test["outcome"],
        "attempt": test["attempt"],
        "took": test["took"],
        "states": list(test["states"]),
        "hosts": _distinct(exchange["host"] for exchange in exchanges),
        "models": _distinct(model_of(exchange) for exchange in exchanges),
        "requests": len(exchanges),
        "tokens": sum(count_tokens(exchange) for exchange in exchanges),
        "size": sum(_measure(exchange) for exchange in exchanges),
        "attempts": numbers,
    }
    dates = sorted(exchange["recorded"] for exchange in exchanges if exchange.get("recorded"))
    if dates:
        row["recorded"] = dates[0]
    groups = _distinct(exchange["drift"]["group"] for exchange in exchanges if "drift" in exchange)
    if groups:
        row["groups"] = groups
    return row


def _distinct(texts: Iterable[str]) -> list[str]:
    return [text for text in dict.fromkeys(texts) if text]


def count_tokens(exchange: Exchange) -> int:
    """Count the tokens that an answer reports."""
    usage = usage_of(exchange)
    return usage.get("total_tokens") or usage.get("input_tokens", 0) + usage.get("output_tokens", 0)


def _measure(exchange: Exchange) -> int:
    bodies = [exchange.get("request_body"), exchange.get("response_body")]
    bodies += [frame["body"] for frame in exchange.get("frames", ())]
    return sum(measure_text(body) for body in bodies if body is not None)


def measure_text(text: Text) -> int:
    """Return the bytes of a text or body."""
    return len(text.encode("utf-8", "replace")) if isinstance(text, str) else text["size"]


def _find_causes(tests: list[Test], numbers: list[int], add: Callable[[Any], Any]) -> list[Cause]:
    found: dict[str, Cause] = {}
    for number in numbers:
        for exchange in tests[number]["exchanges"]:
            drift = exchange.get("drift")
            if drift is None:
                continue
            cause = found.get(drift["group"])
            if cause is None:
                paths = _distinct(change["path"] for change in drift["changes"])
                cause = {"group": drift["group"], "tests": [], "requests": 0, "paths": paths, "example": add(drift)}
                found[drift["group"]] = cause
            cause["requests"] += 1
            if number not in cause["tests"][-1:]:
                cause["tests"].append(number)
    return sorted(found.values(), key=lambda cause: -len(cause["tests"]))
