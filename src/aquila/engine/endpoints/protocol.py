"""The interface of an endpoint: one module that builds requests and reads answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, Protocol

from aquila.engine.calls.options import Options
from aquila.events import Event, Usage
from aquila.messages import Message


@dataclass(frozen=True, slots=True)
class Turn:
    """One complete answer of the provider.

    ``message`` stands for it in the conversation; ``raw`` is its JSON object.
    """

    text: str
    message: Message
    usage: Usage
    raw: Mapping[str, Any]
    finish_reason: str | None = None
    id: str | None = None
    model: str | None = None
    reasoning: str = ""
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class EventTags:
    """The fields that every event of a call carries."""

    ref: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


class EventParser(Protocol):
    """Reads the answer of one request. Pure: chunks in, events out. ``id``: the id of the answer, once it is known."""

    id: str | None

    @property
    def usage(self) -> Usage:
        """The tokens of this answer, as far as the provider has reported them."""
        ...

    def feed(self, chunk: Any) -> Sequence[Event]:
        """Read one object of the SDK's stream. Returns its events; raises ``ProviderError`` if it reports an error."""
        ...

    def feed_complete_answer(self, answer: Mapping[str, Any]) -> Sequence[Event]:
        """Read a complete answer. Returns its events, without those for text that was fed already.

        Raises ``ProviderError`` for an error in its place, ``InvalidAnswer`` for another JSON object.
        """
        ...

    def finish(self) -> Turn:
        """Return the complete answer. Raises ``StreamBroken`` or ``InvalidAnswer`` if it is not complete."""
        ...


class Endpoint(Protocol):
    """An API of the provider that answers conversations."""

    name: str
    path: str
    """The SDK's method that sends the request, as a path from its client; ``retrieve_path`` fetches an answer again."""
    retrieve_path: str

    def build_request(
        self, messages: Sequence[Message], options: Options, *, model: str, refused: AbstractSet[str] = frozenset()
    ) -> dict[str, Any]:
        """Return the arguments of the SDK's method, built from a conversation. Pure. Raises ``ConfigError``.

        ``refused``: what the provider has refused, as ``find_refused`` named it.
        """
        ...

    def find_refused(self, error: BaseException, request: Mapping[str, Any]) -> str | None:
        """Return the part of a request that an error refuses, if the request can be written without it; else None."""
        ...

    def poll_request(self, answer: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the arguments that fetch an unfinished answer again, or None for one that is finished."""
        ...

    def make_parser(self, tags: EventTags) -> EventParser:
        """Return the reader of one answer."""
        ...
