"""The base of every loop: send a request, and send it again while that may help."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Any

from aquila.engine.calls.error_translation import ErrorContext, translate_error
from aquila.engine.calls.options import Options
from aquila.engine.calls.request_gate import OutgoingRequest, RequestGate, current_gate
from aquila.engine.calls.retry import delay_before_retry, is_to_come_back_later
from aquila.engine.calls.telemetry import Telemetry
from aquila.engine.endpoints.protocol import EventParser, EventTags
from aquila.engine.loop.steps import EmitEvents, RequestOutcome, SendRequest, Sleep, Step, Steps
from aquila.errors import ProviderError
from aquila.events import Event, Retry, ToolCall
from aquila.messages import AssistantToolCall
from aquila.tools import decode_arguments
from aquila.transports.requested_delay import read_providers_delay


class RequestLoop:
    """Base of every loop. ``steps`` yields what to do; ``result`` is set at the end; ``parser`` reads streamed answers.

    A loop belongs to one call and is driven by one thread or task at a time, so its counters need no lock.
    """

    parser: EventParser

    def __init__(self, options: Options, telemetry: Telemetry, where: ErrorContext) -> None:
        self.call = telemetry.call
        self.error_context = where
        self.result: Any = None
        self._options = options
        self._telemetry = telemetry
        self._tags = EventTags(self.call.ref, self.call.metadata)
        self._turns = 0
        self._retries = 0
        self._request_id: str | None = None

    def steps(self) -> Steps:
        """Yield what to do next until the call is complete. Raises the error with which the call fails."""
        raise NotImplementedError

    def _rewrite_request(self, error: BaseException) -> bool:
        """Write the request in another form if ``error`` calls for it. Returns whether it was rewritten."""
        return False

    def _send_with_retries(self, step: Callable[[], SendRequest]) -> Generator[Step, Any, RequestOutcome]:
        """Send one request, and again while its error can be retried. ``step`` builds it for each attempt."""
        attempt, gate = 1, current_gate()
        while True:
            sending = step()
            # A limit counts what a model generates. Fetching a stored answer generates nothing.
            if gate is not None and sending.generates:
                sending = yield from self._pass_gate(gate, sending)
            self._telemetry.report_request_start(sending.request, self._turns)
            outcome: RequestOutcome = yield sending
            self._request_id = outcome.headers.get("x-request-id", self._request_id)
            error = outcome.error
            if error is None:
                return outcome
            translated = self._translate_error(error, begun=outcome.begun)
            if isinstance(translated, ProviderError) and not outcome.begun:
                # After the first byte of an answer nothing is retried, so a delay that the provider asks for has no
                # use.
                translated.retry_after = read_providers_delay(outcome.headers, translated.status)
            self._telemetry.report_request_stop(error=translated)
            delay = None
            if not outcome.begun:
                if self._rewrite_request(translated):
                    delay = 0.0
                # With a gate, the task gives up its worker for a long delay; its queue delivers it again.
                elif gate is None or not is_to_come_back_later(translated, gate.longest_wait):
                    delay = delay_before_retry(attempt, translated, outcome.headers, limit=self._options.max_retries)
            if delay is None:
                # ``raise … from`` itself or its own cause would make a cycle in the chain of causes.
                if translated is error or translated is error.__cause__:
                    raise translated
                raise translated from error
            yield self._report_and_emit(
                Retry(attempt, delay, translated, ref=self.call.ref, metadata=self.call.metadata)
            )
            if delay:
                yield Sleep(delay)
            attempt += 1
            self._retries += 1

    def _pass_gate(self, gate: RequestGate, sending: SendRequest) -> Generator[Step, Any, SendRequest]:
        """Wait until ``gate`` admits a request. Returns the request with the headers that the gate adds."""
        keys = self.error_context.secrets
        request = OutgoingRequest(
            call=self.call.ref,
            host=self.error_context.host,
            model=self.call.model,
            transport=self.call.transport,
            # Limits hold for an account of a provider. The hash tells accounts apart and may be stored; a key may not.
            account=hashlib.sha256(keys[0].encode()).hexdigest()[:12] if keys else "",
            body=sending.request,
            longest_answer=getattr(self._options, "max_output_tokens", None),
        )
        waited = 0.0
        while isinstance(found := gate.admit(request, waited), float):
            yield Sleep(found)
            waited += found
        self._telemetry.admission = found
        return replace(sending, headers=found.headers) if found.headers else sending

    def _tool_call_event(self, call: AssistantToolCall) -> ToolCall:
        """A tool call of the conversation as an event."""
        arguments = decode_arguments(call.arguments)
        return ToolCall(call.id, call.name, arguments, call.arguments, ref=self.call.ref, metadata=self.call.metadata)

    def _translate_error(self, error: BaseException, *, begun: bool) -> BaseException:
        return translate_error(error, self.error_context, begun=begun, request_id=self._request_id)

    def _report_and_emit(self, *events: Event, seconds: float = 0.0) -> EmitEvents:
        for event in events:
            self._telemetry.report_event(event, seconds)
        return EmitEvents(events)
