"""The loop of a conversation: requests, and tools between them, until the answer is complete."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aquila.engine.calls.error_translation import ErrorContext, decode_json_answer
from aquila.engine.calls.options import Options
from aquila.engine.calls.telemetry import Telemetry
from aquila.engine.endpoints.protocol import Turn
from aquila.engine.endpoints.structured_output import parse_answer
from aquila.engine.loop.request_loop import RequestLoop
from aquila.engine.loop.socket_answer import Continuation
from aquila.engine.loop.steps import EmitEvents, RunTools, SendRequest, Step, Steps
from aquila.engine.loop.tool_execution import PreparedToolCall, ToolOutcome, make_tool_result, prepare_tool_call
from aquila.errors import ProviderError, StreamBroken, StreamTimeout
from aquila.events import Chunk, Done, ToolCall, ToolResult, Usage
from aquila.messages import Message
from aquila.tools import without_forced_call

if TYPE_CHECKING:
    from aquila.engine.calls.call_plan import CallPlan

_CONTINUATION_FIELDS = frozenset({"conversation", "previous_response_id"})
"""Body fields by which a caller continues a conversation. Where one is given, the loop does not add its own."""


class ToolLoop(RequestLoop):
    """One call: requests, and tools between them, until the answer is complete."""

    def __init__(self, plan: CallPlan, telemetry: Telemetry, where: ErrorContext) -> None:
        super().__init__(plan.options, telemetry, where)
        self._endpoint = plan.endpoint
        self._api = plan.endpoint.name
        self._polls = plan.polls
        self._waits = plan.waits
        self._messages = list(plan.messages)
        self._refused: set[str] = set()
        self._continuation = Continuation() if plan.options.websocket else None
        self._turn_options = self._options
        self._rounds = ToolRounds(self._options)
        self._request = self._next_request()
        self._calls: list[ToolCall] = []
        self._usage = Usage(reported=False)

    def _rewrite_request(self, error: BaseException) -> bool:
        if self._continuation is not None:
            # The driver closes a connection after an error, so the request is sent again over a new one, on which the
            # provider knows nothing: it must hold the whole conversation.
            is_lost = self._continuation.is_lost(error)
            self._continuation.forget()
            self._request = self._next_request()
            return is_lost
        refused = self._endpoint.find_refused(error, self._request)
        if refused is None:
            return False
        self._refused.add(refused)
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
        self.result = response = self._make_response(
            turn,
            usage=self._usage,
            messages=self._messages,
            calls=self._calls,
            stopped=self._rounds.stopped,
            parsed=self._parse_turn(turn),
        )
        yield EmitEvents((Done(response, ref=self.call.ref, metadata=self.call.metadata),))

    def _next_request(self) -> dict[str, Any]:
        continuation = self._continuation
        request = self._endpoint.build_request(
            self._messages if continuation is None else continuation.new_messages(self._messages),
            self._turn_options,
            model=self.call.model,
            refused=self._refused,
        )
        extra = dict(self._turn_options.provider_options)
        where = {} if continuation is None else continuation.fields
        return {**request, **where, "extra_body": extra or None}

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
        if self._continuation is not None and not _CONTINUATION_FIELDS & self._options.provider_options.keys():
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
        self._usage += turn.usage
        if turn.usage.reported:
            yield self._report_and_emit(turn.usage)
        return turn

    def _parse_turn(self, turn: Turn) -> Any:
        wanted = self._options.response_format
        # Not the finish reason: Gemini's is "stop" after tool calls, too.
        if wanted is None or self._rounds.stopped or turn.message.calls:
            return None
        return parse_answer(wanted, turn.text, turn.finish_reason, turn.refusal)


class ToolRounds:
    """Counts rounds and failures in a row, and holds the tools' context. ``stopped`` names the limit that was reached.

    It belongs to one ``ToolLoop``. Tools run on other threads, but only the loop's own thread calls these methods.
    """

    def __init__(self, options: Options) -> None:
        self.stopped: str | None = None
        self.stop_notice = ""
        """The sentence that is added to an answer whose tools were stopped by a limit."""
        self._options = options
        given = options.tool_context
        # A copy, so that a tool's patch changes the context of this call and not the caller's own mapping.
        self._context: Any = dict(given) if isinstance(given, Mapping) else given
        self._rounds = 0
        self._failures = 0

    def begin_round(self) -> None:
        """Note that a round begins: the model has called tools."""
        self._rounds += 1

    def prepare_call(self, call: ToolCall) -> PreparedToolCall | str:
        """Return a call ready to be run, or a text that tells the model why it is not run."""
        if self._rounds > self._options.max_tool_iterations:
            return f"not run: the limit of {self._options.max_tool_iterations} rounds of tool calls is reached"
        if self._failures >= self._options.max_tool_failures:
            return f"not run: {self._failures} tool calls in a row have failed"
        return prepare_tool_call(self._options.tools, call, self._context)

    def make_result(self, call: ToolCall, ran: ToolOutcome | str) -> ToolResult:
        """Return the result of a call, and apply its patch to the context.

        Raises ``ToolError`` for a failed call if the option ``tool_errors`` is ``"raise"``.
        """
        limited = isinstance(ran, str) and ran.startswith("not run: ")
        result = make_tool_result(call, ran, raising=self._options.tool_errors == "raise" and not limited)
        if limited:
            return result
        self._failures = self._failures + 1 if result.error is not None else 0
        if result.context_patch:
            base = self._context if isinstance(self._context, Mapping) else {}
            self._context = {**base, **result.context_patch}
        return result

    def end_round(self) -> None:
        """Note that a round has ended, and set ``stopped`` if a limit was reached."""
        options = self._options
        if self._rounds > options.max_tool_iterations:
            self.stopped = "max_tool_iterations"
            self.stop_notice = (
                f"[Stopped: the model called tools in more than {options.max_tool_iterations} rounds "
                "(max_tool_iterations) without a final answer.]"
            )
        elif self._failures >= options.max_tool_failures:
            self.stopped = "max_tool_failures"
            self.stop_notice = f"[Stopped: {self._failures} tool calls in a row failed (max_tool_failures).]"
