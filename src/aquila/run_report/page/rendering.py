"""Renders the page of a run."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any, cast

from aquila.run_report.bodies import read_body
from aquila.run_report.page.drift_words import add_words
from aquila.run_report.page.embedding import join_scripts, policy_for, read_parts, write_json
from aquila.run_report.page.overview import sum_up
from aquila.run_report.schema import Body, RunReport, Test, Text
from aquila.run_report.word_diff import Steps

_MOST_STEPS = 4_000_000
"""The greatest work for comparing words in a report, in ``Steps``: a few seconds."""

STYLES = ("base.css", "drift.css", "report.css")
SCRIPTS = (
    "elements.js", "drift.js", "conversation.js", "timeline.js", "exchange.js", "test.js", "overview.js", "list.js",
    "report.js",
)  # fmt: skip


def render_page(report: RunReport) -> str:
    """Render a run as one HTML file.

    Args:
        report: The run, with its secrets removed.

    Returns:
        The file. It loads nothing, runs nothing but its own script, and can be written as UTF-8 whatever texts it has.
    """
    drifts = _Drifts(report)
    script, style = join_scripts(*SCRIPTS), read_parts(*STYLES)
    values = {
        "policy": escape(policy_for(script, style)),
        "title": escape(_describe(report)),
        "style": style,
        "script": script,
        "index": write_json(_make_index(report, drifts)),
        "data": "\n".join(_write_data(report, drifts)),
    }
    pieces = read_parts("report.html").split("@@")
    return "".join(values[piece] if number % 2 else piece for number, piece in enumerate(pieces))


def _describe(report: RunReport) -> str:
    wrong = sum(test["outcome"] in ("failed", "error") for test in report["tests"])
    text = f"{report['root']}: {f'{wrong:,} failed of ' if wrong else ''}{report['totals']['tests']:,} tests"
    return text.encode("utf-8", "replace").decode().replace("\x00", "")


class _Drifts:
    """Adds words to the drifts of a report, once to each, in bounded time. It lives while the page is rendered."""

    def __init__(self, report: RunReport) -> None:
        self._bodies = report["bodies"]
        self._steps = Steps(_MOST_STEPS)
        # By ``id()``; the report keeps its drifts alive.
        self._done: dict[int, dict[str, Any]] = {}

    def add_words(self, drift: Any) -> dict[str, Any]:
        """Return a copy of a drift with its words; the same copy for the same drift."""
        if id(drift) not in self._done:
            self._done[id(drift)] = add_words(drift, self._read, self._steps)
        return self._done[id(drift)]

    def _read(self, text: Text) -> str | None:
        return text if isinstance(text, str) else read_body(self._bodies.get(text["key"], {}))


def _make_index(report: RunReport, drifts: _Drifts) -> dict[str, Any]:
    run = {key: value for key, value in report.items() if key not in ("tests", "bodies")}
    return {"run": run, **sum_up(report, drifts.add_words)}


def _write_data(report: RunReport, drifts: _Drifts) -> Iterator[str]:
    for number, test in enumerate(report["tests"]):
        yield _write_block(f"test-{number}", _add_words(drifts, test))
    for key, body in report["bodies"].items():
        text = read_body(body)
        yield _write_block(f"body-{key}", body.get("base64", "") if text is None else text, _describe_body(body))


def _add_words(drifts: _Drifts, test: Test) -> Test:
    if not any("drift" in exchange for exchange in test["exchanges"]):
        return test
    exchanges = [
        {**exchange, "drift": drifts.add_words(exchange["drift"])} if "drift" in exchange else exchange
        for exchange in test["exchanges"]
    ]
    return cast(Test, {**test, "exchanges": exchanges})


def _describe_body(body: Body) -> str:
    facts = {"kind": "text" if "text" in body else "base64"}
    if "media_type" in body:
        facts["media"] = body["media_type"]
    if body.get("cut"):
        facts["cut"] = str(body["cut"])
    return "".join(f' data-{name}="{_quote(value)}"' for name, value in facts.items())


def _quote(text: str) -> str:
    return escape(text.encode("utf-8", "replace").decode().replace("\x00", "\ufffd"))


def _write_block(name: str, value: Any, more: str = "") -> str:
    return f'<script type="application/json" id="{_quote(name)}"{more}>{write_json(value)}</script>'
