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
        # A stack: each scope that is open, with the scope that was bound before. One block may be entered again while
        # it is open; appending and popping are atomic.
        self._open: list[tuple[Scope, Scope | None]] = []

    def _make_scope(self) -> tuple[Scope, Given]:
        """Return a new scope, and what is given to the code within."""
        raise NotImplementedError

    def __enter__(self) -> Given:
        scope, given = self._make_scope()
        activation.watch_scopes()
        scopes.open_scope(scope)
        self._open.append((scope, scopes.bind_scope(scope)))
        return given

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        scope, before = self._open.pop()
        scopes.bind_scope(before)
        scopes.remove_scope(scope)
        decorated_functions.close(scope, error)

    async def __aenter__(self) -> Given:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)
