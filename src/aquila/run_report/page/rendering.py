"""Renders the page of a run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape
from typing import Any, cast

from aquila.run_report.bodies import read_body
from aquila.run_report.page.embedding import join_scripts, policy_for, read_parts, write_json
from aquila.run_report.page.overview import make_overview
from aquila.run_report.schema import Body, Change, Drift, RunReport, Test, Text
from aquila.run_report.word_diff import Steps, word_changes

_MOST_STEPS = 4_000_000
"""The greatest work for comparing words in a report, in ``Steps``: a few seconds."""

_SHORT, _SPACE = 40, re.compile(r"\s")
_CODES = {"same": 0, "removed": 1, "added": 2}

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
    run = {key: value for key, value in report.items() if key not in ("tests", "bodies")}
    values = {
        "policy": escape(policy_for(script, style)),
        "title": escape(_describe(report)),
        "style": style,
        "script": script,
        "index": write_json({"run": run, **make_overview(report, drifts.add_words)}),
        "data": "\n".join(_write_data(report, drifts)),
    }
    pieces = read_parts("report.html").split("@@")
    return "".join(values[piece] if number % 2 else piece for number, piece in enumerate(pieces))


def _describe(report: RunReport) -> str:
    wrong = sum(test["outcome"] in ("failed", "error") for test in report["tests"])
    text = f"{report['root']}: {f'{wrong:,} failed of ' if wrong else ''}{report['totals']['tests']:,} tests"
    return text.encode("utf-8", "replace").decode().replace("\x00", "")


class _Drifts:
    """Adds to the drifts of a report which words differ, once to each, in bounded time. Lives while a page is rendered.

    The words are lists of codes and lengths in turn, because the data has the texts already: 0 for the same, 1 for
    removed, 2 for added. Lengths are UTF-16 units, as JavaScript counts.
    """

    def __init__(self, report: RunReport) -> None:
        self._bodies = report["bodies"]
        self._steps = Steps(_MOST_STEPS)
        # By ``id()``; the report keeps its drifts alive.
        self._done: dict[int, dict[str, Any]] = {}

    def add_words(self, drift: Drift) -> dict[str, Any]:
        """Return a copy with ``prompt_words``, and ``words`` of each change; the same copy for the same drift."""
        if id(drift) not in self._done:
            copy: dict[str, Any] = {**drift, "changes": list(map(self._add_to_change, drift["changes"]))}
            if (lengths := self._measure(drift.get("prompt_was"), drift.get("prompt_now"))) is not None:
                copy["prompt_words"] = lengths
            self._done[id(drift)] = copy
        return self._done[id(drift)]

    def _add_to_change(self, change: Change) -> dict[str, Any]:
        was, now = change.get("was"), change.get("now")
        if all(isinstance(value, str) and len(value) < _SHORT and not _SPACE.search(value) for value in (was, now)):
            return {**change}  # a number or a name is shown as a whole
        lengths = self._measure(was, now)
        return {**change} if lengths is None else {**change, "words": lengths}

    def _measure(self, was: Text | None, now: Text | None) -> list[int] | None:
        old, new = map(self._read, (was, now))
        if old is None or new is None:
            return None
        changes = word_changes(old, new, self._steps)
        return [number for kind, text in changes for number in (_CODES[kind], _count_units(text))]

    def _read(self, text: Text | None) -> str | None:
        return text if text is None or isinstance(text, str) else read_body(self._bodies.get(text["key"], {}))


def _count_units(text: str) -> int:
    """Count the UTF-16 units of a text."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


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
