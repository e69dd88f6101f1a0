"""The open conversations of a run. The conversations of a scope break off when it closes."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aquila.intercept.web_sockets.replayed import ReplayedConversation
    from aquila.recording.scope import Scope


class OpenConversations:
    """The connected conversations of a run, which owns this object. It watches the scopes, whose end breaks them off.

    The references are weak: if a program drops a connection without closing it, the conversation disappears from here.
    """

    def __init__(self) -> None:
        self._by_id: weakref.WeakValueDictionary[int, ReplayedConversation] = weakref.WeakValueDictionary()

    def add(self, conversation: ReplayedConversation) -> None:
        """Add a conversation that is connected."""
        self._by_id[id(conversation)] = conversation

    def discard(self, conversation: ReplayedConversation) -> None:
        """Remove a conversation that has ended."""
        self._by_id.pop(id(conversation), None)

    def scope_opened(self, scope: Scope) -> None:
        """Do nothing."""

    scope_suspended = scope_ending = scope_opened  # the conversations go on until the scope has closed

    def scope_closed(self, scope: Scope) -> None:
        """Break off the conversations of closed scopes."""
        for known in self._by_id.valuerefs():
            conversation = known()
            if conversation is not None and conversation.scope_has_closed:
                conversation.end_with_scope()
