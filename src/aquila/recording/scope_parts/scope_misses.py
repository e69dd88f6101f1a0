"""The misses of a scope, those of its child processes included."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING

from aquila.recording.reporting.miss_log import MissLog
from aquila.recording.scope_parts.scope_part import ScopePart

if TYPE_CHECKING:
    from aquila.errors import CassetteMiss
    from aquila.recording.reporting.child_messages import ChildMessages
    from aquila.recording.scope import Scope


class ScopeMisses(ScopePart):
    """The misses of ``scope``."""

    def __init__(self, scope: Scope) -> None:
        super().__init__(scope)
        self.known = MissLog()
        """The misses so far of which this process knows. What children have told since is not read."""
        self._messages: ChildMessages = scope.child_messages

    def hear(self, *, is_last: bool = False) -> MissLog:
        """Return the misses so far, with what children have told since.

        ``is_last`` says that the scope is about to end: this waits for a child process that is just writing one.
        """
        if self._messages.files.folder is not None:  # mostly no child has told anything
            scope = self._scope
            if scope.is_owner and self._messages.files.may_have_rows:
                for miss in self._messages.take_misses(scope.id, is_last=is_last):
                    self.remember(miss, str(miss))
        return self.known

    def remember(self, miss: CassetteMiss, attempt: Hashable = None) -> None:
        """Remember a miss here, and in the scopes around that end after this one.

        Of misses with an equal ``attempt``, if it is not None, only the first is remembered.
        """
        scope = self._scope
        self.known.remember(miss, attempt)
        if not scope.is_owner:
            self._messages.tell_miss(scope.id, miss)
        elif scope.is_shared:
            scope.run.has_shared_misses = True
        if scope.kind == "call" or not scope.is_owner:
            return
        if scope.parent is not None and not scope.parent.closed:
            scope.parent.misses.remember(miss, attempt)
