"""A report as short Markdown, for the job summary of a CI service."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from aquila.plurals import count_of, number_of
from aquila.prices import write_amount
from aquila.run_report.schema import Exchange, RunReport, Test, Text
from aquila.run_report.totals import last_attempts

_TITLE = ("### Aquila: what the tests asked", "")
_MOST_ROWS = 20
_MOST_TESTS = 10
LONGEST = 200_000
"""The greatest number of characters in a summary. GitHub accepts a megabyte for each step, from all its programs."""

_COUNTED = ("replayed", "recorded", "scripted", "live", "missed", "refused")
_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+!|<>~&@-])")


def write_markdown(report: RunReport) -> str:
    """Return a report as Markdown, cut to ``LONGEST`` characters and a line that says so."""
    text = "\n".join(_write(report)) + "\n"
    return text if len(text) <= LONGEST else text[:LONGEST].rpartition("\n")[0] + "\n\n… and more\n"


class NeededAction(NamedTuple):
    """Something that the user should do: its ``title``, what it is about, a sentence, and the ``command`` after it.

    A line of ``details`` that is indented belongs to the one before it that is not.
    """

    title: str
    details: Sequence[str]
    lead: str
    command: str


def write_short(counts: Mapping[str, int], needed: Iterable[NeededAction]) -> str:
    """Return what needs action in a run without a report, as Markdown. ``counts`` are numbers of requests by state."""
    counted = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    lines = [*_TITLE, *([f"Requests: {counted}.", ""] if counted else [])]
    for title, details, lead, command in needed:
        lines += [f"#### {_escape(title[:1].upper() + title[1:])}", ""]
        lines += _cut([f"{'  ' if line.startswith('  ') else ''}- {_code(line)}" for line in details])
        lines.append("")
        if command:
            lines += [f"{_escape(lead)} {_code(command)}".lstrip(), ""]
    return "\n".join(lines)


def _cut(rows: Sequence[str], most: int = _MOST_ROWS, indent: str = "") -> Iterator[str]:
    """Yield the first rows of a list, and the number of the others."""
    yield from rows[:most]
    if len(rows) > most:
        yield f"{indent}- … and {len(rows) - most:,} more"


def _write(report: RunReport) -> Iterator[str]:
    totals = report["totals"]
    yield from _TITLE
    if "interrupted" in report:
        yield f"The run did not come to its end: {_escape(report['interrupted'])}."
        yield ""
    counted = [f"{totals[name]} {name}" for name in _COUNTED if totals[name]]  # type: ignore[literal-required]
    counted += [f"{totals[name]} {name}" for name in ("pending", "orphaned") if totals[name]]
    asked = count_of(totals["requests"], "request")
    yield f"{count_of(totals['tests'], 'test')}, {asked}: {', '.join(counted) or 'nothing was asked'}."
    yield ""
    if totals["hosts"]:
        yield from _write_hosts(report)
    yield from _write_sums(report)
    yield from _write_misses(report)
    yield from _write_refusals(report)
    if report["pending"]:
        yield f"#### {number_of(len(report['pending']), 'file waits', 'files wait')} for `aquila cassettes review`"
        yield ""
        yield from _cut([f"- {_code(name)}" for name in report["pending"]])
        yield ""


def _write_hosts(report: RunReport) -> Iterator[str]:
    rows = report["totals"]["hosts"]
    yield "| host | model | requests | tokens in | tokens out | cost |"
    yield "| --- | --- | ---: | ---: | ---: | ---: |"
    for row in rows[:_MOST_ROWS]:
        cost = _write_costs(row["cost"])
        yield (
            f"| {_escape(row['host'])} | {_escape(row['model'])} | {row['requests']:,} | {row['input_tokens']:,} | "
            f"{row['output_tokens']:,} | {cost} |"
        )
    if len(rows) > _MOST_ROWS:
        yield f"| … {len(rows) - _MOST_ROWS} more | | | | | |"
    yield ""


def _write_costs(costs: Mapping[str, float]) -> str:
    return ", ".join(f"{write_amount(value)} {currency}" for currency, value in costs.items())


def _write_sums(report: RunReport) -> Iterator[str]:
    totals = report["totals"]
    paid, spared = _write_costs(totals["cost"]), _write_costs(totals["cost_saved"])
    told = []
    if totals["saved"]:
        told.append(f"replays saved {totals['saved'] / 1000:,.1f} s{f' and {spared}' if spared else ''}")
    if paid:
        told.append(f"this run cost {paid}")
    if told:
        sentence = "; ".join(told)
        yield f"{sentence[0].upper()}{sentence[1:]}."
        yield ""


def _write_misses(report: RunReport) -> Iterator[str]:
    groups: dict[str, list[tuple[Test, str]]] = {}
    for test in last_attempts(report["tests"]):
        for exchange in test["exchanges"]:
            if "missed" in exchange["states"]:
                drift = exchange.get("drift")
                name = drift["group"] if drift is not None else exchange["id"]
                if drift is not None and drift["changes"]:
                    told = "; ".join(
                        f"{_code(each['path'])}: {_show(report, each.get('was'))} → {_show(report, each.get('now'))}"
                        for each in drift["changes"][:3]
                    )
                else:
                    told = _first_line(exchange)
                groups.setdefault(name, []).append((test, told))
    if not groups:
        return
    yield f"#### {count_of(len(groups), 'change')} without a recording"
    yield ""
    rows = []
    for members in sorted(groups.values(), key=lambda each: -len(each)):
        commands = {test["id"]: test["command"] for test, _ in members}.values()
        listed = _cut([f"  - {_code(command)}" for command in commands], _MOST_TESTS, "  ")
        rows.append("\n".join([f"- {members[0][1]}", *listed]))
    yield from _cut(rows)
    yield ""


def _write_refusals(report: RunReport) -> Iterator[str]:
    refused = [
        (test, exchange)
        for test in last_attempts(report["tests"])
        for exchange in test["exchanges"]
        if "refused" in exchange["states"]
    ]
    if refused:
        yield "#### Refused"
        yield ""
        yield from _cut([f"- {_code(test['id'])}: {_first_line(exchange)}" for test, exchange in refused])
        yield ""


def _first_line(exchange: Exchange) -> str:
    """Return the first line of the problem of an exchange."""
    return _escape(exchange.get("problem", "").partition("\n")[0])


def _show(report: RunReport, text: Text | None) -> str:
    if text is None:
        return "nothing"
    if not isinstance(text, str):
        text = report["bodies"].get(text["key"], {}).get("text", "")
    return _code(text if len(text) <= 80 else f"{text[:79]}…")


def _escape(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))[:500]


def _code(text: str) -> str:
    """Return a text as inline code, in which nothing counts as Markdown."""
    text = " ".join(text.split())
    ticks = "`" * (max(map(len, re.findall("`+", text)), default=0) + 1)
    space = " " if text.startswith("`") or text.endswith("`") or not text else ""
    return f"{ticks}{space}{text}{space}{ticks}"
