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

    ``unstreamed``: the answer is not streamed; it is all in the outcome's ``body``. ``over_socket``: it goes over the
    WebSocket of the call, which stays open for the next one if nothing fails. ``headers`` are sent with it, except over
    a WebSocket. ``asks``: the provider is to answer something, rather than to hand out what it has.
    """

    request: Mapping[str, Any]
    path: str
    unstreamed: bool = False
    over_socket: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    asks: bool = True


@dataclass(frozen=True, slots=True)
class EmitEvents:
    """Hand these events to the caller."""

    events: Sequence[Event]


@dataclass(frozen=True, slots=True)
class Sleep:
    """Wait."""

    seconds: float


@dataclass(frozen=True, slots=True)
class RunTools:
    """Run these tools, at once if there are several; report a ``ToolOutcome`` of each."""

    calls: Sequence[PreparedToolCall]


@dataclass(frozen=True, slots=True)
class RequestOutcome:
    """How a request went.

    ``begun``: the answer's headers had arrived; ``headers`` are those, ``body`` is an answer that was not streamed.
    """

    error: BaseException | None = None
    begun: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None


Step: TypeAlias = SendRequest | EmitEvents | Sleep | RunTools
Steps: TypeAlias = Generator[Step, Any, Any]
