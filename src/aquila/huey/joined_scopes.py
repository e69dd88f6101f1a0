"""The scopes of other processes that the workers of this process take part in."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aquila.huey.scope_reference import select_allowed_options
from aquila.huey.scope_sharing import share_counts
from aquila.lazy_imports import lazy_modules

if TYPE_CHECKING:
    from aquila.recording import scope as scopes
    from aquila.recording.scope import Scope
else:
    lazy_modules(globals(), scopes="aquila.recording.scope")

_MAX_OPEN = 16


class JoinedScopes:
    """Keeps the scopes that were joined last open, so that the next task of a test finds its cassettes loaded.

    A run owns one of these and drops it when it ends. A worker serves one test after another in the run of its process,
    and ends without being told. No recording is lost with it: each is in the journal as soon as it is complete.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # Worker threads that execute tasks of one test join its scope once.
        self._scopes: OrderedDict[str, Scope] = OrderedDict()

    def join_scope(self, huey: Any, reference: Mapping[str, Any]) -> Scope:
        """Return the scope of another process that a reference names. The one unused for the longest may be closed."""
        with self._lock:
            scope = self._scopes.get(reference["scope"])
            if scope is None:
                options = select_allowed_options(reference["options"])
                scope = scopes.join_scope(
                    scopes.ScopeReference(reference["scope"], reference["name"], reference["default"], options)
                )
                share_counts(huey, scope)
                self._scopes[scope.id] = scope
                while len(self._scopes) > _MAX_OPEN:
                    self._scopes.popitem(last=False)[1].close()
            self._scopes.move_to_end(scope.id)
            return scope

    def close_all(self) -> None:
        """Close every scope that was joined."""
        with self._lock:
            while self._scopes:
                self._scopes.popitem()[1].close()
