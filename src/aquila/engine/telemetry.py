"""What plugins are told about a call. Costs nothing where no plugin listens."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from aquila import _hooks
from aquila.events import Event, Retry, ToolCall, ToolResult
from aquila.hookspecs import CallInfo
from aquila.response import Response


class Telemetry:
    """The telemetry of one call."""

    def __init__(self, call: CallInfo) -> None:
        self.call = call
        self._started = time.monotonic()
        self._stopped = False
        self.hears_chunks = _hooks.listens("aquila_chunk")

    def request(self, request: Mapping[str, Any], turn: int) -> None:
        """A request is about to be sent."""
        _hooks.logger.debug("%s: request %d to %s (%s)", self.call.ref, turn, self.call.model, self.call.operation)
        _hooks.notify("aquila_request_start", call=self.call, request=request, turn=turn)

    def event(self, event: Event, seconds: float = 0.0) -> None:
        """An event of the loop's own, or a chunk where a plugin hears chunks. ``seconds``: how long a tool took."""
        if isinstance(event, ToolCall):
            _hooks.notify("aquila_tool_call", call=self.call, event=event)
        elif isinstance(event, Retry):
            _hooks.logger.info("%s: retry %d in %.1f s", self.call.ref, event.attempt, event.delay)
            _hooks.notify("aquila_retry", call=self.call, event=event)
        elif isinstance(event, ToolResult):
            _hooks.notify("aquila_tool_result", call=self.call, event=event, seconds=seconds)
        elif self.hears_chunks:
            _hooks.notify("aquila_chunk", call=self.call, event=event)

    def stop(self, response: Response | None = None, error: BaseException | None = None) -> None:
        """The call has ended. Only the first end counts."""
        if self._stopped:
            return
        self._stopped = True
        seconds = time.monotonic() - self._started
        outcome = "done" if response is not None else f"failed: {type(error).__name__}" if error else "closed"
        _hooks.logger.info("%s: %s in %.3f s", self.call.ref, outcome, seconds)
        _hooks.notify("aquila_request_stop", call=self.call, response=response, error=error, seconds=seconds)
