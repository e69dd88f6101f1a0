"""The steps that a loop asks its driver to do, and what the driver reports back."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from aquila.engine.loop.tool_execution import Ready
from aquila.events import Event


@dataclass(frozen=True, slots=True)
class Send:
    """Send a request by a method of the SDK, feed its chunks to ``Loop.parser``, report an ``Outcome``.

    ``whole``: the answer is not streamed; it is all in the outcome's ``body``.
    """

    request: Mapping[str, Any]
    path: str
    whole: bool = False


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
    """How a request went.

    ``begun``: the answer's headers had arrived; ``headers`` are those, ``body`` is an answer that was not streamed.
    """

    error: BaseException | None = None
    begun: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None


Step: TypeAlias = Send | Emit | Sleep | Run
Steps: TypeAlias = Generator[Step, Any, Any]
