"""Puts the events of a job together, for the page of the job."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from aquila.huey.live import events
from aquila.huey.live.events import JobEvent


@dataclass(slots=True)
class ToolView:
    """A tool call. ``result`` is None until it has ended."""

    name: str
    arguments: str
    result: str | None = None
    seconds: float = 0.0
    failed: bool = False


@dataclass(slots=True)
class RunView:
    """An execution of a job, with the texts, tool calls and steps of its model calls."""

    key: str
    attempt: int = 1
    delivery: int = 0
    started: float = 0.0
    seconds: float = 0.0
    outcome: str = "running"
    error: str = ""
    traceback: str = ""
    arguments: str = ""
    text: str = ""
    reasoning: str = ""
    tools: list[ToolView] = field(default_factory=list)
    steps: list[tuple[float, str, str]] = field(default_factory=list)


_ENDINGS = {events.RETRY, events.INTERRUPTED, events.DONE, events.FAILED, events.CANCELED}


class JobView:
    """The executions of a job. ``add_event`` takes in its events in order; ``number`` is that of the last event."""

    # A view belongs to one request of one page, so it has no lock.

    def __init__(self, found: Iterable[JobEvent] = ()) -> None:
        self.runs: list[RunView] = []
        self.number = 0
        self._by_key: dict[str, RunView] = {}
        self._tools: dict[tuple[str, str], ToolView] = {}
        for event in found:
            self.add_event(event)

    @property
    def arguments(self) -> str:
        """The arguments of the last execution that has any, as indented JSON."""
        return indent_json(next((run.arguments for run in reversed(self.runs) if run.arguments), ""))

    def add_event(self, event: JobEvent) -> None:
        """Take in the next event."""
        self.number = max(self.number, event.number)
        key = event.run
        if event.kind == events.FAILED and not key and self.runs:
            key = self.runs[-1].key  # The job was given up, because the workers of its last run were lost.
        if not key and event.kind != events.FAILED:
            return
        run = self._by_key.get(key)
        if run is None:
            run = self._by_key[key] = RunView(key, started=event.at)
            self.runs.append(run)
        text = _reader_of(event.data)
        match event.kind:
            case events.STARTED:
                run.started, run.arguments = event.at, text("arguments")
                run.attempt, run.delivery = event.data.get("attempt", 1), event.data.get("delivery", 0)
                # A worker that was suspended may publish an old run after a newer one.
                self.runs.sort(key=lambda one: (one.started, one.attempt, one.delivery))
            case events.TEXT:
                run.text += text("text")
            case events.REASONING:
                run.reasoning += text("text")
            case events.TOOL_CALL:
                tool = ToolView(text("tool"), indent_json(text("arguments")))
                run.tools.append(tool)
                self._tools[event.run, text("id")] = tool
            case events.TOOL_RESULT:
                known = self._tools.get((event.run, text("id")))
                if known is not None:
                    known.result, known.failed = indent_json(text("result")), bool(event.data.get("failed"))
                    known.seconds = event.data.get("seconds", 0.0)
            case _:
                self._add_step(run, event)
        if event.kind in _ENDINGS:
            run.outcome, run.error, run.traceback = event.kind, text("error"), text("traceback")
            run.seconds = event.data.get("seconds", 0.0)

    def _add_step(self, run: RunView, event: JobEvent) -> None:
        text = _reader_of(event.data)
        if event.kind == events.CALL:
            run.steps.append((event.at, "asked", text("model")))
        elif event.kind == events.USAGE:
            tokens = f"{event.data.get('input_tokens', 0)} + {event.data.get('output_tokens', 0)} tokens"
            run.steps.append((event.at, "answered", ", ".join(filter(None, (tokens, text("finish_reason"))))))
        elif event.kind == events.REQUEST_RETRY:
            run.steps.append((event.at, "request again", f"in {event.data.get('delay', 0.0):.1f} s: {text('error')}"))


def indent_json(text: str) -> str:
    """Return JSON indented, with one value on each line. Any other text is returned as it is."""
    try:
        nice = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
        return nice.encode("utf-8", "replace").decode()  # Escapes in JSON may name lone surrogates.
    except (ValueError, RecursionError):
        return text


def _reader_of(data: Any) -> Any:
    return lambda name: str(data.get(name) or "")
