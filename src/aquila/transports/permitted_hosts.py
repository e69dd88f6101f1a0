"""Which requests are Aquila's own: what a live or recording transport sends out must not be caught again.

A permit belongs to one request. It holds in the context that sends the request, in the tasks that start there, and in
the functions that are handed from there to an executor: event loops resolve names in one. It ends with the request,
so a thread or task that goes on afterwards has none.

Noting the host for the whole process would be simpler, and would reach threads that a client starts by itself too.
But then an unasked request to the same host, from any thread, would get out whenever one is being recorded. A client
that resolves names in such a thread is refused instead, which is seen at once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any


class _Permit:
    """The permission to send one request. ``holds`` is true until the request has been answered."""

    __slots__ = ("holds",)

    def __init__(self) -> None:
        self.holds = True


_permit: ContextVar[_Permit | None] = ContextVar("aquila_permit", default=None)


@contextmanager
def permitted() -> Iterator[None]:
    """Let the requests of this context out until the block ends."""
    before, permit = _permit.get(), _Permit()
    _permit.set(permit)
    try:
        yield
    finally:
        permit.holds = False
        _permit.set(before)  # not reset(token): an async generator may be closed in another context


def is_permitted() -> bool:
    """Whether a request of this context may go out."""
    permit = _permit.get()
    return permit is not None and permit.holds


def handing_on(submit: Callable[..., Any]) -> Callable[..., Any]:
    """Make ``ThreadPoolExecutor.submit`` hand the permit on to the function that it takes in, and nothing else.

    ``asyncio`` runs functions in executors without the context of the caller.
    """

    @functools.wraps(submit)
    def handing_on_submit(self: Any, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        permit = _permit.get()
        # Interpreters of their own take only what can be pickled, and see nothing of this one's permits.
        if permit is not None and permit.holds and type(self).__name__ != "InterpreterPoolExecutor":
            function = functools.partial(_run_with, permit, function)
        return submit(self, function, *args, **kwargs)

    return handing_on_submit


def _run_with(permit: _Permit, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    before = _permit.get()
    _permit.set(permit)
    try:
        return function(*args, **kwargs)
    finally:
        _permit.set(before)
