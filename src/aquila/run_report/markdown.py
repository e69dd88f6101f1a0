"""A report as short Markdown, for the job summary of a CI service."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from aquila.plurals import count_of
from aquila.prices import write_amount
from aquila.run_report.schema import RunReport, Test, Text
from aquila.run_report.totals import last_attempts
from aquila.shell_words import quote_word

_MOST_ROWS = 20
_MOST_TESTS = 10
LONGEST = 200_000
"""The greatest number of characters in a summary. GitHub accepts a megabyte for each step, from all its programs."""

_COUNTED = ("replayed", "recorded", "scripted", "live", "missed", "refused")
_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+!|<>~&@-])")


def write_markdown(report: RunReport) -> str:
    """Return a report as Markdown, cut to ``LONGEST``."""
    text = "\n".join(_write(report)) + "\n"
    return text if len(text) <= LONGEST else text[:LONGEST].rpartition("\n")[0] + "\n\n… and more\n"


def write_short(counts: Mapping[str, int], changes: Sequence[tuple[str, Sequence[str]]], pending: Sequence[str]) -> str:
    """Return what needs action in a run without a report, as Markdown.

    ``counts`` are numbers of requests by state. ``changes`` are differing fields, each with the tests that miss because
    of it, the change with the most tests first. ``pending`` are the files that wait for a review.
    """
    counted = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    lines = ["### Aquila: what the tests asked", "", *([f"Requests: {counted}.", ""] if counted else [])]
    if changes:
        lines += [f"#### {count_of(len(changes), 'change')} without a recording", ""]
    for difference, tests in changes[:_MOST_ROWS]:
        lines.append(f"- {_code(difference)}")
        lines += _list_commands([f"pytest {quote_word(test)} --aquila-record" for test in tests])
    if changes:
        lines.append("")
    lines += _write_pending(pending)
    return "\n".join(lines) + "\n"


def _list_commands(commands: Sequence[str]) -> Iterator[str]:
    yield from (f"  - {_code(command)}" for command in commands[:_MOST_TESTS])
    if len(commands) > _MOST_TESTS:
        yield f"  - … and {count_of(len(commands) - _MOST_TESTS, 'more test')}"


def _write(report: RunReport) -> Iterator[str]:
    totals = report["totals"]
    yield "### Aquila: what the tests asked"
    yield ""
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
    yield from _write_pending(report["pending"])


def _write_pending(pending: Sequence[str]) -> Iterator[str]:
    if pending:
        yield f"{count_of(len(pending), 'file')} to review, with `aquila cassettes accept`:"
        yield ""
        yield from (f"- {_code(name)}" for name in pending[:_MOST_ROWS])
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
                    told = _escape(exchange.get("problem", "").partition("\n")[0])
                groups.setdefault(name, []).append((test, told))
    if not groups:
        return
    yield f"#### {count_of(len(groups), 'change')} without a recording"
    yield ""
    for members in sorted(groups.values(), key=lambda each: -len(each))[:_MOST_ROWS]:
        yield f"- {members[0][1]}"
        yield from _list_commands(list({test["id"]: test["command"] for test, _ in members}.values()))
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
        for test, exchange in refused[:_MOST_ROWS]:
            yield f"- {_code(test['id'])}: {_escape(exchange.get('problem', '').partition(chr(10))[0])}"
        yield ""


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
