"""The engine's loop, without any I/O: it says what to do next, a driver does it and reports back.

``Loop.steps`` is a generator of steps. A driver sends it the outcome of each step; between the steps it feeds chunks to
``Loop.parser``. So the synchronous and the asynchronous driver hold no decision.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from aquila.engine.options import Options
from aquila.engine.protocol import Endpoint, Parser, Tags, Turn
from aquila.engine.retry import delay_before
from aquila.engine.translate import Where, translate
from aquila.events import Done, Event, Retry, Usage
from aquila.hookspecs import CallInfo
from aquila.messages import Message
from aquila.response import Response


@dataclass(frozen=True, slots=True)
class Send:
    """Send a request, feed its answer to ``Loop.parser``, report an ``Outcome``."""

    request: Mapping[str, Any]
    turn: int


@dataclass(frozen=True, slots=True)
class Emit:
    """Hand these events to the caller."""

    events: Sequence[Event]


@dataclass(frozen=True, slots=True)
class Sleep:
    """Wait."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a request went. ``begun``: the answer's headers had arrived; ``headers`` are theirs."""

    error: BaseException | None = None
    begun: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)


Step: TypeAlias = Send | Emit | Sleep


class Loop:
    """One call: requests until the answer is complete. ``response`` is set at the end."""

    def __init__(
        self,
        endpoint: Endpoint,
        messages: Sequence[Message],
        options: Options,
        call: CallInfo,
        where: Where,
    ) -> None:
        self.call = call
        self.where = where
        self.response: Response | None = None
        self._endpoint = endpoint
        self._options = options
        self._tags = Tags(call.ref, call.metadata)
        self._messages = list(messages)
        self._request = endpoint.request(self._messages, options, model=call.model)
        self.parser: Parser = endpoint.parser(self._tags)
        self._usage = Usage(reported=False)
        self._turns = 0
        self._retries = 0
        self._request_id: str | None = None

    def steps(self) -> Generator[Step, Any, None]:
        """Yield what to do next until the call is complete. Raises what the call fails with."""
        turn = yield from self._turn()
        self._messages.append(turn.message)
        self.response = self._complete(turn)
        yield Emit((Done(self.response, ref=self.call.ref, metadata=self.call.metadata),))

    def _turn(self) -> Generator[Step, Any, Turn]:
        """One answer of the provider, with the retries that it takes."""
        self._turns += 1
        attempt = 1
        while True:
            self.parser = self._endpoint.parser(self._tags)
            outcome: Outcome = yield Send(self._request, self._turns)
            self._request_id = outcome.headers.get("x-request-id", self._request_id)
            error = outcome.error
            if error is None:
                try:
                    turn = self.parser.finish()
                except Exception as unfinished:  # noqa: BLE001 - translated, not hidden
                    raise self._translated(unfinished, begun=True) from None
                self._usage += turn.usage
                if turn.usage.reported:
                    yield Emit((turn.usage,))
                return turn
            translated = self._translated(error, begun=outcome.begun)
            delay = None
            if not outcome.begun:
                delay = delay_before(attempt, translated, outcome.headers, limit=self._options.max_retries)
            if delay is None:
                if translated is error:
                    raise error
                raise translated from error
            yield Emit((Retry(attempt, delay, translated, ref=self.call.ref, metadata=self.call.metadata),))
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
            },
            raw=turn.raw,
            messages=tuple(self._messages),
            reasoning=turn.reasoning,
            refusal=turn.refusal,
        )
