"""Passes the events of model calls to the publisher of the Huey whose job makes the call."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from aquila import plugins
from aquila.events import Chunk, Event, Reasoning, Refusal, Retry, ToolCall, ToolResult, Usage
from aquila.hookspecs import AnswerInfo, CallInfo, hookimpl
from aquila.huey.live import events
from aquila.huey.live.redacting import describe_error, redact_json, redact_text
from aquila.huey.live.summaries import JobRun
from aquila.huey.tasks.running_task import CurrentTask, current_task_or_none

if TYPE_CHECKING:
    from aquila.huey.live.publisher import JobPublisher

_LONGEST = 4_000  # Characters.


class ModelCallPublisher:
    """The plugin that gets the events of model calls. It has no state: the task that makes a call knows its Huey."""

    @hookimpl
    def aquila_call_start(self, call: CallInfo) -> None:
        if (found := _find_publisher_and_task()) is not None:
            publisher, current = found

            def change(run: JobRun) -> None:
                run.model = call.model or run.model

            publisher.note_event(current, events.CALL, change, ref=call.ref, model=call.model, operation=call.operation)

    @hookimpl
    def aquila_chunk(self, call: CallInfo, event: Event) -> None:
        if isinstance(event, Chunk | Reasoning | Refusal) and (found := _find_publisher_and_task()) is not None:
            publisher, current = found
            kind = events.REASONING if isinstance(event, Reasoning) else events.TEXT
            publisher.note_text(current, kind, event.text)

    @hookimpl
    def aquila_tool_call(self, call: CallInfo, event: ToolCall) -> None:
        if (found := _find_publisher_and_task()) is not None:
            publisher, current = found
            content: dict[str, Any] = {}
            if publisher.content:
                content["arguments"] = redact_json(event.raw_arguments)[:_LONGEST]
            publisher.note_event(current, events.TOOL_CALL, tool=event.name, id=event.id, **content)

    @hookimpl
    def aquila_tool_result(self, call: CallInfo, event: ToolResult, seconds: float) -> None:
        if (found := _find_publisher_and_task()) is not None:
            publisher, current = found
            about: dict[str, Any] = {"tool": event.name, "id": event.id, "failed": event.error is not None}
            if publisher.content:
                about["result"] = redact_json(event.text or _write_value(event.value))[:_LONGEST]
            publisher.note_event(current, events.TOOL_RESULT, seconds=round(seconds, 6), **about)

    @hookimpl
    def aquila_retry(self, call: CallInfo, event: Retry) -> None:
        if (found := _find_publisher_and_task()) is not None:
            publisher, current = found

            def change(run: JobRun) -> None:
                run.request_retries += 1

            error, _ = describe_error(event.error)
            publisher.note_event(current, events.REQUEST_RETRY, change, delay=event.delay, error=error)

    @hookimpl
    def aquila_request_stop(
        self, call: CallInfo, turn: int, answer: AnswerInfo | None, error: BaseException | None, seconds: float
    ) -> None:
        found = _find_publisher_and_task()
        if found is None or answer is None:
            return
        publisher, current = found
        usage, model = answer.usage, answer.model or call.model
        cost = _find_cost(publisher, model, usage)

        def change(run: JobRun) -> None:
            run.requests += 1
            run.model = model or run.model
            run.input_tokens += usage.input_tokens
            run.output_tokens += usage.output_tokens
            run.cost += cost

        publisher.note_event(
            current, events.USAGE, change, model=model, turn=turn, finish_reason=answer.finish_reason,
            input_tokens=usage.input_tokens, output_tokens=usage.output_tokens, cost=cost, seconds=round(seconds, 6),
        )  # fmt: skip


def _find_publisher_and_task() -> tuple[JobPublisher, CurrentTask] | None:
    """Return the publisher of the task that is executing here, and the task. None without a task or a publisher."""
    current = current_task_or_none()
    publisher = None if current is None else current.huey.publisher
    return None if current is None or publisher is None else (publisher, current)


def _find_cost(publisher: JobPublisher, model: str, usage: Usage) -> float:
    """Return what a request has cost. 0 without ``price=``, and where that raises: its tokens must be counted."""
    try:
        return 0.0 if publisher.price is None else float(publisher.price(model, usage))
    except Exception:  # noqa: BLE001 -- it is the user's; a PriceTable raises for a model that it does not have
        plugins.logger.exception("price= of publish_jobs has failed for the model %r", model)
        return 0.0


def _write_value(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, default=repr)
    except (TypeError, ValueError, RecursionError):
        return redact_text(repr(value))


# One for the process, because it has no state. It stays registered: without a publisher it costs a look-up for each
# event.
_PLUGIN = ModelCallPublisher()


def register_plugin() -> None:
    """Publish the events of model calls from now on, in this process. One call is enough for all Hueys."""
    if not plugins.plugin_manager().is_registered(_PLUGIN):
        plugins.register(_PLUGIN)
