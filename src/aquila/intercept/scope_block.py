"""A block of code that uses a cassette: ``with`` and ``async with`` open a scope, and close it."""

from __future__ import annotations

from types import TracebackType
from typing import Generic, TypeVar

from aquila.errors import SessionClosed
from aquila.intercept import activation, decorated_functions
from aquila.recording import scope as scopes
from aquila.recording.scope import Scope

Given = TypeVar("Given")


class ScopeBlock(Generic[Given]):
    """Opens a new scope each time it is entered. Several tasks and threads may enter it at the same time.

    A block that ends with an exception stores nothing in the cassette. Its recordings are kept in the pending file.
    """

    def __init__(self) -> None:
        # Each open scope by its id, with the scope that was bound before. Threads and tasks may enter the block while
        # it is open, and leave it in any order. Adding and removing are atomic.
        self._open: dict[str, tuple[Scope, Scope | None]] = {}

    def _make_scope(self) -> tuple[Scope, Given]:
        """Return a new scope, and the object that ``with`` gives to its block."""
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
        """Remove and return the scope that ends: the bound one, or the last one if the context has changed.

        Raises ``SessionClosed`` where none is open, such as in a notebook whose last cell is run twice.
        """
        bound = scopes.bound_scope.get()
        found = self._open.pop(bound.id, None) if bound is not None else None
        try:
            return found or self._open.popitem()[1]
        except KeyError:
            raise SessionClosed("this block is not open: it has ended already, or has not begun") from None

    async def __aenter__(self) -> Given:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)
