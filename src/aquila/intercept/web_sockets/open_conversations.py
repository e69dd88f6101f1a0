"""The conversations of a run that are not over: those of a scope break off where it ends."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aquila.intercept.web_sockets.replayed import ReplayedConversation
    from aquila.recording.scope import Scope


class OpenConversations:
    """The conversations that are connected now. The run owns this object.

    By weak reference: if a program drops a connection without closing it, the conversation disappears from here.
    """

    def __init__(self) -> None:
        self._by_id: weakref.WeakValueDictionary[int, ReplayedConversation] = weakref.WeakValueDictionary()

    def add(self, conversation: ReplayedConversation) -> None:
        """One is connected."""
        self._by_id[id(conversation)] = conversation

    def discard(self, conversation: ReplayedConversation) -> None:
        """One is over."""
        self._by_id.pop(id(conversation), None)

    def scope_opened(self, scope: Scope) -> None:
        """Do nothing."""

    def scope_suspended(self, scope: Scope) -> None:
        """Do nothing: its conversations go on."""

    def scope_ending(self, scope: Scope) -> None:
        """It goes on until it has closed."""

    def scope_closed(self, scope: Scope) -> None:
        """Break off those of the scope."""
        for known in self._by_id.valuerefs():
            conversation = known()
            if conversation is not None and conversation.is_over:
                conversation.end_with_scope()
