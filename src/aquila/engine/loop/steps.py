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

    ``path``: the method, from the SDK's client, such as ``responses.create``.

    ``unstreamed``: the answer is not streamed; it is all in the outcome's ``body``. ``over_socket``: it goes over the
    WebSocket of the call, which stays open for the next one if nothing fails. ``headers`` are sent with it, except over
    a WebSocket. ``generates``: the model generates something, so rate limits count it; false for fetching a stored
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
    """Make and load what ``sending`` needs, if nothing has yet: it is about to be counted by limits.

    For the first request of a process that takes up to a second. If it left so long after it was counted, it would
    arrive within the period of later ones.
    """

    sending: SendRequest


@dataclass(frozen=True, slots=True)
class EmitEvents:
    """Hand these events to the caller."""

    events: Sequence[Event]


@dataclass(frozen=True, slots=True)
class Sleep:
    """Wait for so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class RunTools:
    """Run these tools, all at the same time; report a list with a ``ToolOutcome`` for each, in the same order."""

    calls: Sequence[PreparedToolCall]


@dataclass(frozen=True, slots=True)
class RequestOutcome:
    """How a request ended: with ``error``, or without.

    ``begun``: the answer's headers had arrived, and are ``headers``. ``body``: the bytes of an answer that was not
    streamed.
    """

    error: BaseException | None = None
    begun: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None


Step: TypeAlias = SendRequest | GetReady | EmitEvents | Sleep | RunTools
Steps: TypeAlias = Generator[Step, Any, Any]
