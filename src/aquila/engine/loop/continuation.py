"""Continue a conversation of the Responses API by ``previous_response_id``, so that only new messages are sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aquila.engine.endpoints.protocol import Turn
from aquila.errors import ConnectionFailed, ProviderError
from aquila.messages import Message

# OpenAI keeps a response that is not stored only in the memory of its connection, which it closes after an hour.
_LOST_CODES = frozenset({"previous_response_not_found", "websocket_connection_limit_reached"})
"""Error codes for an earlier response that the provider no longer has, and for a connection past its time limit."""


class Continuation:
    """Remembers the last response of a conversation, and how many messages the provider has.

    One ``ToolLoop`` owns it and alone changes it, so it needs no lock.
    """

    def __init__(self) -> None:
        self._response_id: str | None = None
        self._known = 0

    def remember(self, turn: Turn, messages: Sequence[Message]) -> None:
        """Note that the provider answered with ``turn``, whose message is the last of ``messages``."""
        # A message that is not the turn's own had its tool calls renumbered: the provider does not know their new ids,
        # so the conversation cannot refer to its response.
        self._response_id = turn.id if messages[-1] is turn.message else None
        self._known = len(messages)

    def forget(self) -> None:
        """Start over, because the connection is closed: the next request sends the whole conversation."""
        self._response_id = None

    def new_messages(self, messages: Sequence[Message]) -> Sequence[Message]:
        """Return the messages that the provider does not have yet."""
        return messages if self._response_id is None else messages[self._known :]

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of a request body that refer to the earlier response; empty if there is none."""
        return {} if self._response_id is None else {"previous_response_id": self._response_id}

    def is_lost(self, error: BaseException) -> bool:
        """Whether ``error`` says that the provider has lost the earlier response, so everything is to be sent."""
        if self._response_id is None:
            return False
        body = error.body if isinstance(error, ProviderError) else None
        code = body.get("code") if isinstance(body, dict) else None
        return isinstance(error, ConnectionFailed) or code in _LOST_CODES
