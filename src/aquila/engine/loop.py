"""The engine's loop, without any I/O: it says what to do next, a driver does it and reports back.

``Loop.steps`` is a generator of steps. A driver sends it the outcome of each step; while it does a ``Send`` it feeds
the chunks to ``Loop.parser``. So the synchronous and the asynchronous driver hold no decision.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from aquila.engine.execute import Ran, Ready
from aquila.engine.options import Options
from aquila.engine.protocol import Endpoint, Parser, Tags, Turn
from aquila.engine.retry import delay_before
from aquila.engine.rounds import Rounds
from aquila.engine.telemetry import Telemetry
from aquila.engine.translate import Where, translate
from aquila.events import Chunk, Done, Event, Retry, ToolCall, Usage
from aquila.messages import Message
from aquila.response import Response
from aquila.tools import decode


@dataclass(frozen=True, slots=True)
class Send:
    """Send a request, feed its answer to ``Loop.parser``, report an ``Outcome``."""

    request: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Emit:
    """Hand these events to the caller."""

    events: Sequence[Event]


@dataclass(frozen=True, slots=True)
class Sleep:
    """Wait."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Run:
    """Run these tools, at once if there are several; report what each ``Ran``."""

    ready: Sequence[Ready]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a request went. ``begun``: the answer's headers had arrived; ``headers`` are theirs."""

    error: BaseException | None = None
    begun: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)


Step: TypeAlias = Send | Emit | Sleep | Run
Steps: TypeAlias = Generator[Step, Any, Any]


class Loop:
    """One call: requests, and tools between them, until the answer is complete. ``response`` is set at the end."""

    def __init__(
        self,
        endpoint: Endpoint,
        messages: Sequence[Message],
        options: Options,
        telemetry: Telemetry,
        where: Where,
    ) -> None:
        call = telemetry.call
        self.call = call
        self._telemetry = telemetry
        self.where = where
        self.response: Response | None = None
        self._endpoint = endpoint
        self._options = options
        self._tags = Tags(call.ref, call.metadata)
        self._messages = list(messages)
        self._other_form = False
        self._request = self._next_request(options)
        self.parser: Parser = endpoint.parser(self._tags)
        self._rounds = Rounds(options)
        self._calls: list[ToolCall] = []
        self._usage = Usage(reported=False)
        self._turns = 0
        self._retries = 0
        self._request_id: str | None = None

    def steps(self) -> Steps:
        """Yield what to do next until the call is complete. Raises what the call fails with."""
        while True:
            turn = yield from self._turn()
            calls = self._take_in(turn)
            if not calls or not any(map(self._options.tools.runs, calls)):
                break
            yield from self._answer(calls)
            if self._rounds.stopped or not all(map(self._options.tools.runs, calls)):
                break
            # A choice that forces a call would force one for ever.
            options = self._options
            if options.tool_choice not in (None, "auto", "none"):
                options = replace(options, tool_choice="auto")
            self._request = self._next_request(options)
        if self._rounds.stopped:
            turn = replace(turn, text="\n\n".join(filter(None, (turn.text, self._rounds.told))))
            yield self._emit(Chunk(self._rounds.told, ref=self.call.ref, metadata=self.call.metadata))
        self.response = self._complete(turn)
        yield Emit((Done(self.response, ref=self.call.ref, metadata=self.call.metadata),))

    def _emit(self, *events: Event, seconds: float = 0.0) -> Emit:
        for event in events:
            self._telemetry.event(event, seconds)
        return Emit(events)

    def _next_request(self, options: Options) -> dict[str, Any]:
        return self._endpoint.request(self._messages, options, model=self.call.model, other_form=self._other_form)

    def _take_in(self, turn: Turn) -> list[ToolCall]:
        """Add an answer to the conversation; return the calls in it."""
        message = turn.message
        if message.calls:
            # Some providers send no id, or one twice. The answer to a call needs one, the same one on every replay.
            used = {call.id for call in self._calls}
            calls = []
            for position, call in enumerate(message.calls):
                unique = call.id if call.id and call.id not in used else f"call_{self._turns}_{position}"
                used.add(unique)
                calls.append(replace(call, id=unique))
            if tuple(calls) != message.calls:  # the provider's own items hold the ids that were not good enough
                extra = {key: value for key, value in message.extra.items() if key != "output"}
                message = replace(message, calls=tuple(calls), extra=extra)
        self._messages.append(message)
        made = [
            ToolCall(
                call.id,
                call.name,
                decode(call.arguments),
                call.arguments,
                ref=self.call.ref,
                metadata=self.call.metadata,
            )
            for call in message.calls
        ]
        self._calls += made
        return made

    def _answer(self, calls: Sequence[ToolCall]) -> Steps:
        """Run the tools that were called, and add their results to the conversation."""
        yield self._emit(*calls)
        here = [call for call in calls if self._options.tools.runs(call)]
        self._rounds.begin()
        for group in [here] if self._options.concurrent_tools else [[call] for call in here]:
            ready = [self._rounds.prepare(call) for call in group]
            able = [each for each in ready if isinstance(each, Ready)]
            ran: list[Ran] = (yield Run(able)) if able else []
            results = iter(ran)
            for call, each in zip(group, ready, strict=True):
                done = next(results) if isinstance(each, Ready) else each
                result = self._rounds.settle(call, done)
                self._messages.append(Message("tool", result.text, call_id=call.id))
                yield self._emit(result, seconds=done.seconds if isinstance(done, Ran) else 0.0)
        self._rounds.end()

    def _turn(self) -> Generator[Step, Any, Turn]:
        """One answer of the provider, with the retries that it takes."""
        self._turns += 1
        attempt = 1
        while True:
            self.parser = self._endpoint.parser(self._tags)
            self._telemetry.request_start(self._request, self._turns)
            outcome: Outcome = yield Send(self._request)
            self._request_id = outcome.headers.get("x-request-id", self._request_id)
            error = outcome.error
            if error is None:
                try:
                    turn = self.parser.finish()
                except Exception as unfinished:  # noqa: BLE001 - translated, not hidden
                    raise self._translated(unfinished, begun=True) from None
                self._telemetry.request_stop(turn)
                self._usage += turn.usage
                if turn.usage.reported:
                    yield self._emit(turn.usage)
                return turn
            translated = self._translated(error, begun=outcome.begun)
            self._telemetry.request_stop(error=translated)
            delay = None
            if not outcome.begun:
                if not self._other_form and self._endpoint.has_other_form(translated, self._messages):
                    self._other_form = True
                    self._request = self._next_request(self._options)
                    delay = 0.0
                else:
                    delay = delay_before(attempt, translated, outcome.headers, limit=self._options.max_retries)
            if delay is None:
                if translated is error:
                    raise error
                raise translated from error
            yield self._emit(Retry(attempt, delay, translated, ref=self.call.ref, metadata=self.call.metadata))
            if delay:
                yield Sleep(delay)
            attempt += 1
            self._retries += 1

    def _translated(self, error: BaseException, *, begun: bool) -> BaseException:
        return translate(error, self.where, begun=begun, request_id=self._request_id)

    def _complete(self, turn: Turn) -> Response:
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
        )
