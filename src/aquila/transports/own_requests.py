"""Marks Aquila's own requests, which live and recording transports send, so that they are not intercepted.

The mark belongs to one request. It holds in the context that sends the request, in tasks that start there, and in
functions that are passed from there to an executor, because event loops resolve names in an executor. The mark ends
with the request, so a thread or task that goes on afterwards has none.

Marking the host for the whole process would be simpler, and would reach threads that a client starts by itself. But
then any other request to the same host, from any thread, could be sent while one is being recorded. A client that
resolves names in a thread of its own is refused instead, and its author sees that at once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from aquila.lazy_imports import lazy_modules
from aquila.recording import runtime

if TYPE_CHECKING:
    from aquila.recording import askers, miss_outcomes
else:
    lazy_modules(globals(), "aquila.recording: askers, miss_outcomes")


class _OwnRequest:
    """The mark of one request. ``in_progress`` is true until the request has been answered."""

    __slots__ = ("in_progress",)

    def __init__(self) -> None:
        self.in_progress = True


# Set by `own_request` for the duration of one request, and by `_run_as_part_of` in the threads that work for it.
_own_request: ContextVar[_OwnRequest | None] = ContextVar("aquila_own_request", default=None)


@contextmanager
def own_request() -> Iterator[None]:
    """Mark what this context sends as Aquila's own until the block ends."""
    before, mark = _own_request.get(), _OwnRequest()
    _held = runtime.hold_values()
    _own_request.set(mark)
    try:
        yield
    finally:
        mark.in_progress = False
        _held = runtime.hold_values()
        _own_request.set(before)  # not reset(token): an async generator may be closed in another context


def is_own_request() -> bool:
    """Whether this context is sending a request of Aquila's own."""
    mark = _own_request.get()
    return mark is not None and mark.in_progress


_REPORTER_MODULES = frozenset({"celery.concurrency.base"})
"""Modules of functions that tell others what has failed in an executor, in an ``except Exception``.

Nobody reads their future, so an outcome would be lost, and who waits for the result of a task would wait for ever.
"""


def share_with_executors(submit: Callable[..., Any]) -> Callable[..., Any]:
    """Return a ``ThreadPoolExecutor.submit`` that passes the mark on to the function. ``submit`` is the original.

    ``asyncio`` runs functions in executors without the context of the caller. In a run of tests, the function also
    works for the test of the caller, and a miss in it becomes the ordinary exception of its future (see
    ``outcome_boundary``).
    """

    @functools.wraps(submit)
    def submit_with_mark(self: Any, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        mark = _own_request.get()
        # An interpreter pool takes only what can be pickled, and its interpreters have no marks of ours.
        if type(self).__name__ != "InterpreterPoolExecutor":
            is_reporter = getattr(function, "__module__", None) in _REPORTER_MODULES
            run_function = _run_for if is_reporter else _run_within_boundary
            if mark is not None and mark.in_progress:
                function = functools.partial(_run_as_part_of, mark, function)
            if runtime.current_run().make_outcome is not None:
                function = functools.partial(run_function, askers.find_asker(), function)
        return submit(self, function, *args, **kwargs)

    return submit_with_mark


def _run_within_boundary(asker: runtime.Asker, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    with miss_outcomes.outcome_boundary():
        return _run_for(asker, function, *args, **kwargs)


def _run_for(asker: runtime.Asker, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    with askers.working_for(asker):
        return function(*args, **kwargs)


def _run_as_part_of(mark: _OwnRequest, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    before = _own_request.get()
    _held = runtime.hold_values()
    _own_request.set(mark)
    try:
        return function(*args, **kwargs)
    finally:
        _held = runtime.hold_values()
        _own_request.set(before)
