"""The loop of a call: requests with their retries, and tools between them, until the answer is complete.

A loop does no I/O: it says what to do next, a driver does it and reports back. ``steps`` is a generator of steps. A
driver performs each step and sends the outcome back. During a ``SendRequest`` it feeds the chunks to ``parser``.
Drivers decide nothing.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import operator
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from aquila.engine.calls.error_translation import (
    PROTOCOL_ERRORS,
    ErrorContext,
    decode_json_answer,
    error_of_protocol,
    translate_error,
)
from aquila.engine.calls.options import Options
from aquila.engine.calls.request_gate import OutgoingRequest, RequestGate, current_gate
from aquila.engine.calls.retry import asks_for_longer_wait, delay_before_retry
from aquila.engine.calls.telemetry import Telemetry
from aquila.engine.endpoints.protocol import Endpoint, EventParser, EventTags, Turn
from aquila.engine.endpoints.structured_output import parse_answer
from aquila.engine.loop.socket_answer import Continuation
from aquila.engine.loop.steps import EmitEvents, GetReady, RequestOutcome, RunTools, SendRequest, Sleep, Step, Steps
from aquila.engine.loop.tool_execution import CUTS, PreparedToolCall, ToolOutcome, ToolRounds
from aquila.errors import BadRequest, LimitReached, ProviderError, StreamBroken, StreamTimeout
from aquila.events import Chunk, Done, Event, Progress, Retry, ToolCall, Usage
from aquila.messages import AssistantToolCall, Message
from aquila.response import Response
from aquila.tools import decode_arguments, without_forced_call
from aquila.transports.requested_delay import read_providers_delay

if TYPE_CHECKING:
    from aquila.engine.calls.call_plan import CallPlan

T = TypeVar("T")

_CONTINUATION_FIELDS = frozenset({"conversation", "previous_response_id"})
"""Body fields by which a caller continues a conversation. Where one is given, the loop does not add its own."""


class RequestLoop:
    """Base of every loop. ``steps`` yields what to do; ``result`` is set at the end; ``parser`` reads streamed answers.

    A loop belongs to one call and is driven by one thread or task at a time, so its counters need no lock.
    """

    parser: EventParser
    _api = "responses"
    """The name of the API that it speaks."""

    def __init__(self, options: Options, telemetry: Telemetry, error_context: ErrorContext) -> None:
        self.call = telemetry.call
        self.error_context = error_context
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
        translated: BaseException | None = None
        while True:
            # A limit counts what a model generates. Fetching a stored answer generates nothing.
            if gate is not None and sending.generates:
                try:
                    sending = yield from self._pass_gate(gate, sending)
                except LimitReached as reached:
                    if translated is None:
                        raise
                    # A limit that refuses the retry would hide what the provider has answered.
                    text = f"{reached}. It is the retry after: {translated}"
                    raise LimitReached(
                        text, limit=reached.limit, retry_after=reached.retry_after or 0.0
                    ) from translated
            self._telemetry.report_request_start(sending.request, self._turns)
            outcome: RequestOutcome = yield sending
            self._request_id = outcome.headers.get("x-request-id")
            error = outcome.error
            if error is None:
                return outcome
            translated = self._translate_error(error, begun=outcome.begun)
            if isinstance(translated, ProviderError) and not outcome.begun:
                # Only here: after the first byte of an answer nothing is retried, so nobody needs the delay.
                translated.retry_after = read_providers_delay(outcome.headers, translated.status)
            self._telemetry.report_request_stop(error=translated)
            delay = None
            if not outcome.begun:
                if self._rewrite_request(translated):
                    delay = 0.0
                # With a gate, a long delay is not waited out in the worker: the queue delivers the task again later.
                elif gate is None or not asks_for_longer_wait(translated, gate.longest_wait):
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
        """Return the response whose last answer is ``turn``. ``stopped``: what has ended the tools."""
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
        """Return a tool call of the conversation as an event."""
        arguments = decode_arguments(call.arguments)
        return ToolCall(call.id, call.name, arguments, call.arguments, ref=self.call.ref, metadata=self.call.metadata)

    def _translate_error(self, error: BaseException, *, begun: bool) -> BaseException:
        return translate_error(error, self.error_context, begun=begun, request_id=self._request_id)

    def _read(self, read: Callable[[], T]) -> T:
        """Return what ``read`` returns. Raises ``InvalidAnswer`` if it fails because the answer is not of the API."""
        try:
            return read()
        except PROTOCOL_ERRORS as error:
            raise error_of_protocol(error, self.error_context, self._api) from error

    def _read_complete_answer(self, answer: Mapping[str, Any]) -> Steps:
        """Read an answer that was not streamed, and hand its events to the caller."""
        yield self._report_and_emit(*self._read(lambda: self.parser.feed_complete_answer(answer)))

    def _report_and_emit(self, *events: Event, seconds: float = 0.0) -> EmitEvents:
        for event in events:
            self._telemetry.report_event(event, seconds)
        return EmitEvents(events)


class ToolLoop(RequestLoop):
    """One call: requests, and tools between them, until the answer is complete."""

    def __init__(self, plan: CallPlan, telemetry: Telemetry, error_context: ErrorContext) -> None:
        super().__init__(plan.options, telemetry, error_context)
        self._endpoint = plan.endpoint
        self._api = plan.endpoint.name
        self._polls = plan.polls
        self._waits = plan.waits
        self._messages = list(plan.messages)
        self._refused: set[str] = set()
        self._refusals: list[str] = []  # what the provider said of earlier forms of this request
        self._continuation = Continuation() if plan.options.websocket else None
        self._turn_options = self._options
        self._rounds: ToolRounds | None = None  # made when the model first calls tools: most calls have none
        self._request = self._next_request()
        self._calls: list[ToolCall] = []
        self._usages: list[Usage] = []  # of each turn

    def _rewrite_request(self, error: BaseException) -> bool:
        if self._continuation is not None:
            # The driver closes a connection after an error, so the request is sent again over a new one, on which the
            # provider knows nothing: it must hold the whole conversation.
            is_lost = self._continuation.is_lost(error)
            self._continuation.forget()
            self._request = self._next_request()
            return is_lost
        refused = self._endpoint.find_refused(error, self._request)
        if refused is None or refused in self._refused:  # the provider refuses the other form, too
            for refusal in self._refusals if isinstance(error, BadRequest) else ():
                error.add_note(f"before, another form of this request was refused: {refusal}")
            return False
        self._refused.add(refused)
        self._refusals.append(str(error))
        self._request = self._next_request()
        return True

    def steps(self) -> Steps:
        """Yield what to do next until the call is complete. Raises the error with which the call fails."""
        while True:
            turn = yield from self._request_turn()
            calls = self._add_answer(turn)
            if calls:
                yield EmitEvents(calls)
            if not any(map(self._options.tools.runs_here, calls)):
                break
            yield from self._run_called_tools(calls, cut_by=_find_cut_within_a_call(turn))
            if self._stopped or not all(map(self._options.tools.runs_here, calls)):
                break
            # A ``tool_choice`` that forces a call would force one in every turn, and the loop would never end.
            self._turn_options = self._options.with_other("tool_choice", without_forced_call(self._options.tool_choice))
            self._request = self._next_request()
        if self._rounds is not None and self._rounds.stopped:
            notice = f"\n\n{self._rounds.stop_notice}" if turn.text else self._rounds.stop_notice
            turn = replace(turn, text=turn.text + notice)
            yield self._report_and_emit(Chunk(notice, ref=self.call.ref, metadata=self.call.metadata))
        self.result = response = self._make_response(
            turn,
            usage=functools.reduce(operator.add, self._usages),
            messages=self._messages,
            calls=self._calls,
            stopped=self._stopped,
            parsed=self._parse_turn(turn),
        )
        yield EmitEvents((Done(response, ref=self.call.ref, metadata=self.call.metadata),))

    @property
    def _stopped(self) -> str | None:
        """What ended the tool calls: an option, such as ``max_tool_failures``, or ``content_filter``; else None."""
        return None if self._rounds is None else self._rounds.stopped

    def _next_request(self) -> dict[str, Any]:
        continuation = self._continuation
        request = self._endpoint.build_request(
            self._messages if continuation is None else continuation.new_messages(self._messages),
            self._turn_options,
            model=self.call.model,
            refused=self._refused,
        )
        extra = dict(self._turn_options.provider_options)
        earlier = {} if continuation is None else continuation.fields
        return {**request, **earlier, "extra_body": extra or None}

    def _add_answer(self, turn: Turn) -> list[ToolCall]:
        """Add an answer to the conversation. Returns its tool calls as events."""
        self._refusals.clear()
        message = turn.message
        if message.calls:
            # Some providers send no call id, or the same one twice. A tool's result refers to its call by the id, so
            # each call of the conversation needs its own; it is made from counters, to be the same on every replay.
            used = {"", *(call.id for before in self._messages for call in before.calls)}
            calls = []
            for position, call in enumerate(message.calls):
                made_up = (f"call_{number}_{position}" for number in itertools.count(self._turns))
                unique = next(each for each in itertools.chain([call.id], made_up) if each not in used)
                used.add(unique)
                calls.append(replace(call, id=unique))
            if tuple(calls) != message.calls:
                # ``output`` holds the provider's items with the old ids; without it the items are built from the calls.
                extra = {key: value for key, value in message.extra.items() if key != "output"}
                message = replace(message, calls=tuple(calls), extra=extra)
        self._messages.append(message)
        if self._continuation is not None and not _CONTINUATION_FIELDS & self._options.provider_options.keys():
            self._continuation.remember(turn, self._messages)
        made = [self._tool_call_event(call) for call in message.calls]
        self._calls += made
        return made

    def _run_called_tools(self, calls: Sequence[ToolCall], *, cut_by: str | None) -> Steps:
        """Run the tools that were called, and add their results to the conversation.

        ``cut_by``: why the answer ended within a call, so that none is run; None if it did not.
        """
        here = [call for call in calls if self._options.tools.runs_here(call)]
        rounds = self._rounds = self._rounds or ToolRounds(self._options)
        rounds.begin_round(cut_by=cut_by)
        for group in [here] if self._options.concurrent_tools else [[call] for call in here]:
            for call in group:
                self._telemetry.report_event(call)
            ready = [rounds.prepare_call(call) for call in group]
            able = [each for each in ready if isinstance(each, PreparedToolCall)]
            ran: list[ToolOutcome] = (yield RunTools(able)) if able else []
            results = iter(ran)
            for call, each in zip(group, ready, strict=True):
                done = next(results) if isinstance(each, PreparedToolCall) else each
                result = rounds.make_result(call, done)
                self._messages.append(Message("tool", result.text, call_id=call.id))
                yield self._report_and_emit(result, seconds=done.seconds if isinstance(done, ToolOutcome) else 0.0)
        rounds.end_round()

    def _request_turn(self) -> Generator[Step, Any, Turn]:
        """Send one request and return the answer, which may be fetched again until it is finished."""
        self._turns += 1
        self.parser = self._endpoint.make_parser(self._tags)
        try:
            if self._polls:
                request = {
                    key: value for key, value in self._request.items() if key not in ("stream", "stream_options")
                }
                outcome = yield from self._send_with_retries(
                    lambda: SendRequest(request, self._endpoint.path, unstreamed=True)
                )
            else:
                outcome = yield from self._send_with_retries(
                    lambda: SendRequest(self._request, self._endpoint.path, over_socket=self._continuation is not None)
                )
            if outcome.body is not None:
                answer = decode_json_answer(outcome.body, outcome.headers, self.error_context)
                if self._waits:
                    answer = yield from self._fetch_until_finished(answer, self._endpoint)
                yield from self._read_complete_answer(answer)
            turn = self._read(self.parser.finish)
        except (StreamBroken, StreamTimeout) as broken:
            if not self._options.background or self.parser.id is None:
                if self.parser.usage.reported:  # the tokens are paid for, though the answer is lost
                    yield self._report_and_emit(self.parser.usage)
                raise self._translate_error(broken, begun=True) from broken.__cause__
            # With ``background`` the provider goes on without the stream, so the rest can be fetched.
            self._telemetry.report_request_stop(error=broken)
            unfinished = {"id": self.parser.id, "status": "in_progress"}
            answer = yield from self._fetch_until_finished(unfinished, self._endpoint)
            yield from self._read_complete_answer(answer)
            turn = self._read(self.parser.finish)
        except ProviderError as error:
            raise self._translate_error(error, begun=True) from error.__cause__
        self._telemetry.report_request_stop(turn)
        self._usages.append(turn.usage)
        if turn.usage.reported:
            yield self._report_and_emit(turn.usage)
        return turn

    def _parse_turn(self, turn: Turn) -> Any:
        wanted = self._options.response_format
        # The finish reason does not tell whether tools were called: Gemini's is "stop" then, too.
        if wanted is None or self._stopped or turn.message.calls:
            return None
        return parse_answer(wanted, turn.text, turn.finish_reason, turn.refusal)


def _find_cut_within_a_call(turn: Turn) -> str | None:
    """Return the finish reason of an answer that its provider has cut within the arguments of a call, else None."""
    is_cut = turn.finish_reason in CUTS and any(
        not call.arguments.strip() or decode_arguments(call.arguments) is None for call in turn.message.calls
    )
    return turn.finish_reason if is_cut else None
