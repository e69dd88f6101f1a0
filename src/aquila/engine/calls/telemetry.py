"""Reports what happens in a call to plugins and to the log. A chunk costs nothing if no plugin implements its hook."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from typing import Any

from aquila import plugins
from aquila.engine.calls.request_gate import AdmittedRequest
from aquila.engine.endpoints.protocol import Turn
from aquila.events import Event, Retry, ToolCall, ToolResult
from aquila.hookspecs import AnswerInfo, CallInfo
from aquila.response import Response

_log = plugins.logger


class Telemetry:
    """The telemetry of one call. Only its driver calls the methods, so the state needs no lock."""

    def __init__(self, call: CallInfo, *, shows_content: bool) -> None:
        """``shows_content``: whether the log shows prompts and answers."""
        self.call = call
        self._heard: frozenset[str] = frozenset()  # known once the call has started
        self.has_chunk_listeners = False
        """Whether chunks are to be reported. Known once the first request was reported."""
        self._shows_content = shows_content
        self._began: float | None = None
        self._stopped = False
        self._request: tuple[int, float] | None = None
        """The turn and the start, by ``time.monotonic()``, of the request under way; None between requests."""
        self.admission: AdmittedRequest | None = None
        """The gate's record of the request under way; None without a gate. The loop sets it, ``_settle`` clears it."""

    def _notify(self, hook: str, **arguments: Any) -> None:
        if hook in self._heard:
            plugins.notify_plugins(hook, **arguments)

    def _report_start(self) -> None:
        if self._began is None:
            self._began = time.monotonic()
            # Asked once a call, so that a chunk costs nothing when nobody listens.
            self._heard = plugins.heard_hooks()
            self.has_chunk_listeners = "aquila_chunk" in self._heard
            if self._heard:
                self._notify("aquila_call_start", call=self.call)

    def report_request_start(self, request: Mapping[str, Any], turn: int) -> None:
        """Report that a request is about to be sent. ``turn``: the number of the turn within the call, from 1."""
        self._report_start()
        self._request = (turn, time.monotonic())
        call = self.call
        _log.debug("%s: request %d to %s (%s, %s)", call.ref, turn, call.model, call.operation, call.transport)
        if self._shows_content and _log.isEnabledFor(logging.DEBUG):
            _log.debug("%s: sent %s", call.ref, json.dumps(request, ensure_ascii=False, default=str))
        if self._heard:
            self._notify("aquila_request_start", call=call, request=request, turn=turn)

    def report_request_stop(self, turn: Turn | None = None, error: BaseException | None = None) -> None:
        """Report that the request under way has ended, with a complete answer or with an error.

        Without both, the answer is still being made, and another request will fetch it; or the answer is no turn
        of a conversation, such as a transcription.
        """
        if turn is not None or error is not None:
            self._settle(turn, error)
        if self._request is None:
            return
        (number, started), self._request = self._request, None
        seconds = time.monotonic() - started
        answer = AnswerInfo(turn.id, turn.model, turn.finish_reason, turn.usage) if turn is not None else None
        self._notify("aquila_request_stop", call=self.call, turn=number, answer=answer, error=error, seconds=seconds)

    def _settle(self, turn: Turn | None, error: BaseException | None) -> None:
        admission, self.admission = self.admission, None
        if admission is not None:
            admission.settle(turn.usage if turn is not None and turn.usage.reported else None, error)

    def report_event(self, event: Event, seconds: float = 0.0) -> None:
        """Report an event. ``seconds``: how long a tool took, for the result of a tool."""
        if isinstance(event, ToolCall):
            _log.debug("%s: tool call %s", self.call.ref, event.name)
            self._notify("aquila_tool_call", call=self.call, event=event)
        elif isinstance(event, ToolResult):
            outcome = "failed" if event.error is not None else "done"
            _log.debug("%s: tool %s %s in %.3f s", self.call.ref, event.name, outcome, seconds)
            self._notify("aquila_tool_result", call=self.call, event=event, seconds=seconds)
        elif isinstance(event, Retry):
            kind = type(event.error).__name__
            _log.info("%s: retry %d in %.1f s after %s", self.call.ref, event.attempt, event.delay, kind)
            self._notify("aquila_retry", call=self.call, event=event)
        elif self.has_chunk_listeners:
            self._notify("aquila_chunk", call=self.call, event=event)

    def report_end(self, result: Any = None, error: BaseException | None = None) -> None:
        """Report that the call has ended, with its result or with an error. Without both, its caller has closed it.

        Only the first report counts.
        """
        if self._stopped:
            return
        self._stopped = True
        self._report_start()
        self.report_request_stop(error=error)
        # report_request_stop() may have had nothing to report; a gate's count must be released all the same.
        self._settle(None, None)
        seconds = time.monotonic() - (self._began or 0.0)
        outcome = "done" if result is not None else f"failed with {type(error).__name__}" if error else "closed"
        _log.info("%s: %s in %.3f s", self.call.ref, outcome, seconds)
        if self._shows_content and isinstance(result, Response):
            _log.debug("%s: received %s", self.call.ref, result.text)
        self._notify("aquila_call_stop", call=self.call, result=result, error=error, seconds=seconds)
