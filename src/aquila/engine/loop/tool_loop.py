"""The engine's loop, without any I/O: it says what to do next, a driver does it and reports back.

``ToolLoop.steps`` is a generator of steps. A driver performs each step and sends the outcome back. During a
``SendRequest`` it feeds the chunks to ``ToolLoop.parser``. So no decision is made in the drivers.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aquila.engine.calls.error_translation import ErrorContext, decode_json_answer
from aquila.engine.calls.telemetry import Telemetry
from aquila.engine.endpoints.protocol import Turn
from aquila.engine.endpoints.structured_output import parse_answer
from aquila.engine.loop.continuation import Continuation
from aquila.engine.loop.request_loop import RequestLoop
from aquila.engine.loop.steps import EmitEvents, RunTools, SendRequest, Sleep, Step, Steps
from aquila.engine.loop.tool_execution import PreparedToolCall, ToolOutcome
from aquila.engine.loop.tool_rounds import ToolRounds
from aquila.errors import ProviderError, StreamBroken, StreamTimeout
from aquila.events import Chunk, Done, Progress, ToolCall, Usage
from aquila.messages import Message
from aquila.response import Response
from aquila.tools import without_forced_call

if TYPE_CHECKING:
    from aquila.engine.calls.call_plan import CallPlan


_CONTINUATION_FIELDS = frozenset({"conversation", "previous_response_id"})
"""Body fields by which a caller continues a conversation. Where one is given, the loop does not add its own."""


class ToolLoop(RequestLoop):
    """One call: requests, and tools between them, until the answer is complete."""

    def __init__(
        self,
        plan: CallPlan,
        telemetry: Telemetry,
        where: ErrorContext,
    ) -> None:
        super().__init__(plan.options, telemetry, where)
        self._endpoint = plan.endpoint
        self._polls = plan.polls
        self._waits = plan.waits
        self._messages = list(plan.messages)
        self._fallback_form = False
        self._over_socket = plan.options.websocket
        self._continuation = Continuation()
        self._turn_options = self._options
        self._request = self._next_request()
        self._rounds = ToolRounds(self._options)
        self._calls: list[ToolCall] = []
        self._usage = Usage(reported=False)

    def _rewrite_request(self, error: BaseException) -> bool:
        if self._over_socket:
            # The driver closes a connection after an error, so the request is sent again over a new one, on which the
            # provider knows nothing: it must hold the whole conversation.
            is_lost = self._continuation.is_lost(error)
            self._continuation.forget()
            self._request = self._next_request()
            return is_lost
        if self._fallback_form or not self._endpoint.refused_usual_form(error, self._messages):
            return False
        self._fallback_form = True
        self._request = self._next_request()
        return True

    def steps(self) -> Steps:
        """Yield what to do next until the call is complete. Raises what the call fails with."""
        while True:
            turn = yield from self._request_turn()
            calls = self._add_answer(turn)
            if not calls or not any(map(self._options.tools.runs_here, calls)):
                break
            yield from self._run_called_tools(calls)
            if self._rounds.stopped or not all(map(self._options.tools.runs_here, calls)):
                break
            # A ``tool_choice`` that forces a call would force one in every turn, and the loop would never end.
            self._turn_options = self._options.with_tool_choice(without_forced_call(self._options.tool_choice))
            self._request = self._next_request()
        if self._rounds.stopped:
            turn = replace(turn, text="\n\n".join(filter(None, (turn.text, self._rounds.stop_notice))))
            yield self._report_and_emit(Chunk(self._rounds.stop_notice, ref=self.call.ref, metadata=self.call.metadata))
        self.result = response = self._make_response(turn)
        yield EmitEvents((Done(response, ref=self.call.ref, metadata=self.call.metadata),))

    def _next_request(self) -> dict[str, Any]:
        request = self._endpoint.build_request(
            self._continuation.new_messages(self._messages),
            self._turn_options,
            model=self.call.model,
            fallback_form=self._fallback_form,
        )
        extra = dict(self._turn_options.provider_options)
        return {**request, **self._continuation.fields, "extra_body": extra or None}

    def _add_answer(self, turn: Turn) -> list[ToolCall]:
        """Add an answer to the conversation. Returns its tool calls as events."""
        message = turn.message
        if message.calls:
            # Some providers send no call id, or the same one twice. A tool's result refers to its call by the id, so
            # each call needs its own; it is made from counters, to be the same on every replay.
            used = {call.id for call in self._calls}
            calls = []
            for position, call in enumerate(message.calls):
                unique = call.id if call.id and call.id not in used else f"call_{self._turns}_{position}"
                used.add(unique)
                calls.append(replace(call, id=unique))
            if tuple(calls) != message.calls:
                # ``output`` holds the provider's items with the old ids; without it the items are built from the calls.
                extra = {key: value for key, value in message.extra.items() if key != "output"}
                message = replace(message, calls=tuple(calls), extra=extra)
        self._messages.append(message)
        if self._over_socket and not _CONTINUATION_FIELDS & self._options.provider_options.keys():
            self._continuation.remember(turn, self._messages)
        made = [self._tool_call_event(call) for call in message.calls]
        self._calls += made
        return made

    def _run_called_tools(self, calls: Sequence[ToolCall]) -> Steps:
        """Run the tools that were called, and add their results to the conversation."""
        yield self._report_and_emit(*calls)
        here = [call for call in calls if self._options.tools.runs_here(call)]
        self._rounds.begin_round()
        for group in [here] if self._options.concurrent_tools else [[call] for call in here]:
            ready = [self._rounds.prepare_call(call) for call in group]
            able = [each for each in ready if isinstance(each, PreparedToolCall)]
            ran: list[ToolOutcome] = (yield RunTools(able)) if able else []
            results = iter(ran)
            for call, each in zip(group, ready, strict=True):
                done = next(results) if isinstance(each, PreparedToolCall) else each
                result = self._rounds.make_result(call, done)
                self._messages.append(Message("tool", result.text, call_id=call.id))
                yield self._report_and_emit(result, seconds=done.seconds if isinstance(done, ToolOutcome) else 0.0)
        self._rounds.end_round()

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
                    lambda: SendRequest(self._request, self._endpoint.path, over_socket=self._over_socket)
                )
            if outcome.body is not None:
                answer = decode_json_answer(outcome.body, outcome.headers, self.error_context)
                yield from self._poll_until_finished(answer)
            turn = self.parser.finish()
        except (StreamBroken, StreamTimeout) as broken:
            if not self._options.background or self.parser.id is None:
                if self.parser.usage.reported:  # the tokens are paid for, though the answer is lost
                    yield self._report_and_emit(self.parser.usage)
                raise self._translate_error(broken, begun=True) from broken.__cause__
            # With ``background`` the provider goes on without the stream, so the rest can be fetched.
            self._telemetry.report_request_stop(error=broken)
            yield from self._poll_until_finished({"id": self.parser.id, "status": "in_progress"})
            turn = self.parser.finish()
        except ProviderError as error:
            raise self._translate_error(error, begun=True) from error.__cause__
        self._telemetry.report_request_stop(turn)
        self._usage += turn.usage
        if turn.usage.reported:
            yield self._report_and_emit(turn.usage)
        return turn

    def _poll_until_finished(self, answer: Mapping[str, Any]) -> Steps:
        """Fetch an answer again until it is finished, then read it. Without ``waits`` it is read as it is."""
        while self._waits and (again := self._endpoint.poll_request(answer)) is not None:
            status = str(answer.get("status"))
            self._telemetry.report_request_stop()
            yield self._report_and_emit(Progress("response", status, ref=self.call.ref, metadata=self.call.metadata))
            if self.call.transport != "replay":  # recordings need no time to become ready
                yield Sleep(self._options.poll_interval)
            step = SendRequest(again, self._endpoint.retrieve_path, unstreamed=True, generates=False)
            # The default argument binds this round's step; mypy cannot infer the type of such a lambda.
            outcome = yield from self._send_with_retries(lambda step=step: step)  # type: ignore[misc]
            answer = decode_json_answer(outcome.body or b"", outcome.headers, self.error_context)
        yield self._report_and_emit(*self.parser.feed_complete_answer(answer))

    def _make_response(self, turn: Turn) -> Response:
        return Response(
            text=turn.text,
            usage=self._usage,
            meta={
                "ref": self.call.ref,
                "model": turn.model or self.call.model,
                "endpoint": self._endpoint.name,
                "finish_reason": turn.finish_reason,
                "id": turn.id,
                "request_id": self._request_id,
                "metadata": self.call.metadata,
                "transport": self.call.transport,
                "turns": self._turns,
                "retries": self._retries,
                "stopped": self._rounds.stopped,
            },
            raw=turn.raw,
            messages=tuple(self._messages),
            reasoning=turn.reasoning,
            refusal=turn.refusal,
            tool_calls=tuple(self._calls),
            parsed=self._parse_turn(turn),
        )

    def _parse_turn(self, turn: Turn) -> Any:
        if self._rounds.stopped or turn.finish_reason == "tool_calls":
            return None
        return parse_answer(self._options.response_format, turn.text, turn.finish_reason, turn.refusal)
