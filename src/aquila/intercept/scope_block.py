"""A block of code that uses a cassette: ``with`` and ``async with`` open a scope, and close it."""

from __future__ import annotations

from types import TracebackType
from typing import Generic, TypeVar

from aquila.intercept import activation, decorated_functions
from aquila.recording import scope as scopes
from aquila.recording.scope import Scope

Given = TypeVar("Given")


class ScopeBlock(Generic[Given]):
    """Opens a scope of its own each time it is entered, in whichever tasks and threads that may be.

    A block that ends with an exception stores nothing: what it recorded is kept in the pending file beside.
    """

    def __init__(self) -> None:
        # Each scope that is open, by its id, with the scope that was bound before. One block may be entered again while
        # it is open, by other threads and tasks, too, which leave it in any order; adding and removing are atomic.
        self._open: dict[str, tuple[Scope, Scope | None]] = {}

    def _make_scope(self) -> tuple[Scope, Given]:
        """Return a new scope, and what is given to the code within."""
        raise NotImplementedError

    def __enter__(self) -> Given:
        scope, given = self._make_scope()
        activation.watch_scopes()
        scopes.open_scope(scope)
        self._open[scope.id] = scope, scopes.bind_scope(scope)
        return given

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        scope, before = self._take_open()
        scopes.bind_scope(before)
        scope.run.scopes.remove(scope)
        decorated_functions.close_block(scope, error)

    def _take_open(self) -> tuple[Scope, Scope | None]:
        """Take the scope that ends here: the one bound here, or the last where a block is left in another context."""
        bound = scopes.bound_scope.get()
        found = self._open.pop(bound.id, None) if bound is not None else None
        return found or self._open.popitem()[1]

    async def __aenter__(self) -> Given:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)
