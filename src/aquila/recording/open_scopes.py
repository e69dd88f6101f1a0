"""The open scopes of a run: those that surround running code, those that are found by their id, and their watchers."""

from __future__ import annotations

import weakref
from collections.abc import Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from aquila.recording.scope import Scope

    class ScopeWatcher(Protocol):
        """Is told when scopes that surround other code open, change and close."""

        def scope_opened(self, scope: Scope) -> None:
            """A scope is open, or its cassette or its settings have changed."""

        def scope_suspended(self, scope: Scope) -> None:
            """A scope is put aside until it is opened again. The code that it started goes on."""

        def scope_ending(self, scope: Scope) -> None:
            """A scope is about to close. Answers that are under way may still end."""

        def scope_closed(self, scope: Scope) -> None:
            """A scope is no longer open."""


class OpenScopes:
    """The scopes of one run, which owns this object. Leaving the run clears it."""

    def __init__(self, watchers: Sequence[ScopeWatcher]) -> None:
        """``watchers`` are those of the run, which may add some at any time."""
        # Outermost first. Any thread may open or close a scope without a lock: each change is one atomic operation.
        self._surrounding: list[Scope] = []
        # Weak references, so that a scope that is dropped without being closed disappears from here.
        self._by_id: weakref.WeakValueDictionary[str, Scope] = weakref.WeakValueDictionary()
        self._watchers = watchers
        self._kept: list[Scope] | None = None  # see `keep`; None before the run is interrupted

    def __len__(self) -> int:
        return len(self._surrounding)

    def __contains__(self, scope: Scope) -> bool:
        return scope in self._surrounding

    def innermost(self) -> Scope | None:
        """The scope that was opened last and is still open."""
        # Not `if self._surrounding: return self._surrounding[-1]`: another thread may remove the scope in between.
        return next(reversed(self._surrounding), None)

    def surrounding(self) -> Sequence[Scope]:
        """Return the scopes that surround running code now, outermost first."""
        return tuple(self._surrounding)

    def register(self, scope: Scope) -> None:
        """Let ``find`` find a scope, whether it surrounds other code or not."""
        self._by_id[scope.id] = scope

    def find(self, scope_id: str | None) -> Scope | None:
        """The scope with an id, if it has not been closed. None is the id of no scope."""
        return None if scope_id is None else self._by_id.get(scope_id)

    def unclosed(self) -> Sequence[Scope]:
        """Return the scopes that have not been closed, whether they surround other code or not."""
        return [scope for known in self._by_id.valuerefs() if (scope := known()) is not None]

    def add(self, scope: Scope) -> None:
        """Open a scope within those that are open."""
        self._surrounding.append(scope)
        self.announce(scope)

    def remove(self, scope: Scope) -> None:
        """Let a scope surround nothing any more. Scopes may be removed in any order, and twice."""
        if scope in self._surrounding:
            self._surrounding.remove(scope)

    def suspend(self, scope: Scope) -> None:
        """Put a scope aside until ``resume``: nothing finds it, except code that is bound to it."""
        self.remove(scope)
        for watcher in self._watchers:
            watcher.scope_suspended(scope)

    def resume(self, scope: Scope) -> None:
        """Put a scope that was suspended around those that were opened within it, as before."""
        inner = (at for at, other in enumerate(self._surrounding) if other is not scope and scope in other.around)
        self._surrounding.insert(next(inner, len(self._surrounding)), scope)
        self.announce(scope)

    def announce_end(self, scope: Scope) -> None:
        """Tell the watchers that a scope is about to close."""
        for watcher in self._watchers:
            watcher.scope_ending(scope)

    def close(self, scope: Scope) -> None:
        """Forget a scope that has ended."""
        self._by_id.pop(scope.id, None)
        for watcher in self._watchers:
            watcher.scope_closed(scope)

    def interrupt(self) -> None:
        """Say that the run is interrupted: what ends from now on may end too early."""
        self._kept = []

    def keep(self, scope: Scope) -> bool:
        """Keep a scope unclosed if the run is interrupted, so that its recordings stay in its journal. Say whether."""
        if self._kept is not None:
            self._kept.append(scope)
        return self._kept is not None

    def close_all(self) -> None:
        """Forget every scope that is still open, and those kept. Their recordings stay in their journals."""
        for scope in (*(self._kept or ()), *reversed(self.surrounding())):
            self.announce_end(scope)
            self.remove(scope)
            self.close(scope)

    def announce(self, scope: Scope) -> None:
        """Tell the watchers that a scope is open, or has changed."""
        for watcher in self._watchers:
            watcher.scope_opened(scope)
