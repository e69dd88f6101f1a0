"""What the loops of all calls share: requests with their retries, and answers that are fetched until they are finished.

A loop does no I/O: it says what to do next, a driver does it and reports back. ``steps`` is a generator of steps. A
driver performs each step and sends the outcome back. During a ``SendRequest`` it feeds the chunks to ``parser``. So no
decision is made in the drivers.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from aquila.engine.calls.error_translation import (
    PROTOCOL_ERRORS,
    ErrorContext,
    decode_json_answer,
    error_of_protocol,
    translate_error,
)
from aquila.engine.calls.options import Options
from aquila.engine.calls.request_gate import OutgoingRequest, RequestGate, current_gate
from aquila.engine.calls.retry import delay_before_retry, is_to_come_back_later
from aquila.engine.calls.telemetry import Telemetry
from aquila.engine.endpoints.protocol import Endpoint, EventParser, EventTags, Turn
from aquila.engine.loop.steps import EmitEvents, GetReady, RequestOutcome, SendRequest, Sleep, Step, Steps
from aquila.errors import ProviderError
from aquila.events import Event, Progress, Retry, ToolCall, Usage
from aquila.messages import AssistantToolCall, Message
from aquila.response import Response
from aquila.tools import decode_arguments
from aquila.transports.requested_delay import read_providers_delay

T = TypeVar("T")


class RequestLoop:
    """Base of every loop. ``steps`` yields what to do; ``result`` is set at the end; ``parser`` reads streamed answers.

    A loop belongs to one call and is driven by one thread or task at a time, so its counters need no lock.
    """

    parser: EventParser
    _api = "responses"
    """The name of the API that it speaks."""

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
        attempt, sending, gate = 1, step(), current_gate()
        while True:
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
            attempt, sending = attempt + 1, step()
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
        # A request over a WebSocket uses neither the SDK nor the connections that would be made.
        if not sending.over_socket and gate.counts(request):
            yield GetReady(sending)
        waited = 0.0
        while isinstance(found := gate.admit(request, waited), float):
            yield Sleep(found)
            waited += found
        self._telemetry.admission = found
        return replace(sending, headers=found.headers) if found.headers else sending

    def _fetch_answer(self, request: Mapping[str, Any], path: str) -> Generator[Step, Any, dict[str, Any]]:
        """Fetch or cancel a stored answer by the SDK's method ``path``. Returns it as it is now."""
        step = SendRequest(request, path, unstreamed=True, generates=False)
        outcome = yield from self._send_with_retries(lambda: step)
        return decode_json_answer(outcome.body or b"", outcome.headers, self.error_context)

    def _fetch_until_finished(self, answer: dict[str, Any], endpoint: Endpoint) -> Generator[Step, Any, dict[str, Any]]:
        """Fetch an answer again and again while the provider is making it. Returns it once it is finished."""
        while (again := self._read(functools.partial(endpoint.poll_request, answer))) is not None:
            status = str(answer.get("status"))
            self._telemetry.report_request_stop()
            yield self._report_and_emit(Progress("response", status, ref=self.call.ref, metadata=self.call.metadata))
            if self.call.transport != "replay":  # recordings need no time to become ready
                yield Sleep(self._options.poll_interval)
            answer = yield from self._fetch_answer(again, endpoint.retrieve_path)
        return answer

    def answer_meta(self, **more: Any) -> dict[str, Any]:
        """Return the ``meta`` of an answer: facts about its call, and ``more``."""
        return {
            "ref": self.call.ref,
            "model": self.call.model,
            "request_id": self._request_id,
            "metadata": self.call.metadata,
            "transport": self.call.transport,
            "retries": self._retries,
            **more,
        }

    def _make_response(
        self,
        turn: Turn,
        *,
        usage: Usage,
        messages: Sequence[Message],
        calls: Sequence[ToolCall],
        stopped: str | None = None,
        parsed: Any = None,
    ) -> Response:
        """Return the response whose last answer is ``turn``. ``stopped`` names the limit that has ended the tools."""
        meta = self.answer_meta(
            model=turn.model or self.call.model,
            endpoint=self._api,
            finish_reason=turn.finish_reason,
            id=turn.id,
            turns=self._turns,
            stopped=stopped,
        )
        return Response(
            text=turn.text,
            usage=usage,
            meta=meta,
            raw=turn.raw,
            messages=tuple(messages),
            reasoning=turn.reasoning,
            refusal=turn.refusal,
            tool_calls=tuple(calls),
            parsed=parsed,
        )

    def _tool_call_event(self, call: AssistantToolCall) -> ToolCall:
        """A tool call of the conversation as an event."""
        arguments = decode_arguments(call.arguments)
        return ToolCall(call.id, call.name, arguments, call.arguments, ref=self.call.ref, metadata=self.call.metadata)

    def _translate_error(self, error: BaseException, *, begun: bool) -> BaseException:
        return translate_error(error, self.error_context, begun=begun, request_id=self._request_id)

    def _read(self, read: Callable[[], T]) -> T:
        """Return what a method of ``parser`` returns. Raises ``InvalidAnswer`` for what the API does not have."""
        try:
            return read()
        except PROTOCOL_ERRORS as error:
            raise error_of_protocol(error, self.error_context, self._api) from error

    def _read_complete_answer(self, answer: Mapping[str, Any]) -> Steps:
        """Read an answer that has come whole, and hand its events to the caller."""
        yield self._report_and_emit(*self._read(lambda: self.parser.feed_complete_answer(answer)))

    def _report_and_emit(self, *events: Event, seconds: float = 0.0) -> EmitEvents:
        for event in events:
            self._telemetry.report_event(event, seconds)
        return EmitEvents(events)
