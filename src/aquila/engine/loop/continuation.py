"""What a provider knows already, on the connection that a conversation goes over: only what is new is sent there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aquila.engine.endpoints.protocol import Turn
from aquila.errors import ConnectionFailed, ProviderError
from aquila.messages import Message

_LOST = frozenset({"previous_response_not_found", "websocket_connection_limit_reached"})
"""The error codes of a provider that has forgotten an answer, and of a connection that has lasted too long."""


class Continuation:
    """Where a conversation goes on, if it can."""

    def __init__(self) -> None:
        self._response_id: str | None = None
        self._known = 0

    def remember(self, turn: Turn, messages: Sequence[Message]) -> None:
        """The provider has said ``turn``, which is the last of ``messages``."""
        # Calls without a good id were given another one, under which the provider would look for them in vain.
        self._response_id = turn.id if messages[-1] is turn.message else None
        self._known = len(messages)

    def forget(self) -> None:
        """The connection is gone, and whatever it knew."""
        self._response_id = None

    def new_messages(self, messages: Sequence[Message]) -> Sequence[Message]:
        """Return those that the provider does not know."""
        return messages if self._response_id is None else messages[self._known :]

    @property
    def fields(self) -> dict[str, Any]:
        """What a request says besides, so that it goes on there."""
        return {} if self._response_id is None else {"previous_response_id": self._response_id}

    def is_lost(self, error: BaseException) -> bool:
        """Whether a request was refused because the provider, or the connection, knows nothing of the conversation."""
        if self._response_id is None:
            return False
        body = error.body if isinstance(error, ProviderError) else None
        code = body.get("code") if isinstance(body, dict) else None
        return isinstance(error, ConnectionFailed) or code in _LOST
