"""The steps that a loop asks its driver to do, and what the driver reports back."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from aquila.engine.loop.tool_execution import PreparedToolCall
from aquila.events import Event


@dataclass(frozen=True, slots=True)
class SendRequest:
    """Send a request by a method of the SDK, feed its chunks to ``RequestLoop.parser``, report a ``RequestOutcome``.

    - ``path``: the method, from the SDK's client, such as ``responses.create``.
    - ``unstreamed``: the answer is not streamed; the outcome's ``body`` holds all of it.
    - ``over_socket``: the request goes over the WebSocket of the call, which stays open for the next request if nothing
      fails.
    - ``headers`` are sent with it, except over a WebSocket.
    - ``generates``: the model generates something, so rate limits count the request; false for fetching a stored
      answer.
    """

    request: Mapping[str, Any]
    path: str
    unstreamed: bool = False
    over_socket: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    generates: bool = True


@dataclass(frozen=True, slots=True)
class GetReady:
    """Make and load everything that ``sending`` needs, before limits count it.

    Making it takes up to a second for the first request of a process. If limits counted that request before, it might
    reach the provider only in the period after the one in which it was counted.
    """

    sending: SendRequest


@dataclass(frozen=True, slots=True)
class EmitEvents:
    """Hand these events to the caller."""

    events: Sequence[Event]


@dataclass(frozen=True, slots=True)
class Sleep:
    """Wait for a time."""

    seconds: float


@dataclass(frozen=True, slots=True)
class RunTools:
    """Run these tools, all at the same time; report a list with a ``ToolOutcome`` for each, in the same order."""

    calls: Sequence[PreparedToolCall]


@dataclass(frozen=True, slots=True)
class RequestOutcome:
    """How a request ended; ``error`` is None if it succeeded.

    - ``begun``: an answer that is no error had begun, so nothing is retried.
    - ``headers``: those of the answer or of the error response; empty without one.
    - ``body``: the bytes of an answer that was not streamed.
    """

    error: BaseException | None = None
    begun: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None


Step: TypeAlias = SendRequest | GetReady | EmitEvents | Sleep | RunTools
Steps: TypeAlias = Generator[Step, Any, Any]
