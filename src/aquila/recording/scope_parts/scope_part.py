"""A part of a scope: an object that the scope makes and keeps, and that finds its scope again."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

from aquila.errors import SessionClosed

if TYPE_CHECKING:
    from aquila.recording.scope import Scope


class ScopePart:
    """A part of ``scope``, for as long as the scope lives."""

    def __init__(self, scope: Scope) -> None:
        # Weak, because the scope keeps this object: both go when nothing uses the scope any more.
        self._owner = weakref.ref(scope)

    @property
    def _scope(self) -> Scope:
        scope = self._owner()
        if scope is None:
            raise SessionClosed("a scope was dropped without being closed, and something still uses a part of it")
        return scope
