"""Runs functions that read or write, or load a model, in threads, for code in an event loop."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeAlias, TypeVar

from anyio import CancelScope, to_thread

from aquila.fork_locks import renewed_in_child

T = TypeVar("T")
_Work: TypeAlias = tuple[Future[Any], Callable[[], Any]]

_MOST_THREADS = 40
"""As many as the workers of anyio in one event loop."""


async def run_in_thread(function: Callable[..., Any], *arguments: Any) -> Any:
    """Run a function in a thread. It is completed even if the caller is cancelled, also if it is cancelled twice."""
    work = functools.partial(contextvars.copy_context().run, function, *arguments)
    with CancelScope(shield=True):
        return await (_run_in_own_thread(work) if _is_asyncio() else to_thread.run_sync(work))


async def _run_in_own_thread(work: Callable[[], T]) -> T:
    """Run it in a thread that ends when there is nothing more to run.

    A worker of anyio waits for more until its event loop tells it to end. A loop that a second Ctrl-C has stopped tells
    it nothing, and the interpreter, at its end, would wait for the worker for ever.
    """
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()  # else cancelling the caller would cancel it
    _threads.run(future, work)
    return await asyncio.wrap_future(future)


class _Threads:
    """Runs functions in a bounded number of threads, for all event loops of the process."""

    def __init__(self) -> None:
        self._lock = renewed_in_child(threading.Lock())
        self._waiting: deque[_Work] = deque()
        self._count = 0

    def run(self, future: Future[Any], work: Callable[[], Any]) -> None:
        """Complete a future with what a function returns or raises: now in a new thread, or after others."""
        with self._lock:
            if self._count >= _MOST_THREADS:
                self._waiting.append((future, work))
                return
            self._count += 1
        try:
            threading.Thread(target=self._run_all, args=(future, work), name="aquila-files").start()
        except RuntimeError:  # the system gives no more threads
            with self._lock:
                self._count -= 1
            raise

    def _run_all(self, future: Future[Any], work: Callable[[], Any]) -> None:
        given: _Work | None = (future, work)
        del future, work
        while given is not None:
            _complete(*given)
            with self._lock:
                given = self._waiting.popleft() if self._waiting else None
                if given is None:
                    self._count -= 1

    def begin_anew(self) -> None:
        """Forget the threads of the parent, in a forked child, which has none of them."""
        self._count = 0
        self._waiting.clear()


_threads = _Threads()
"""Belongs to the process."""
if hasattr(os, "register_at_fork"):  # Windows has neither this function nor fork.
    os.register_at_fork(after_in_child=_threads.begin_anew)


def _is_asyncio() -> bool:
    try:
        return asyncio.current_task() is not None
    except RuntimeError:  # trio
        return False


def _complete(future: Future[T], work: Callable[[], T]) -> None:
    try:
        result = work()
    except StopIteration as error:  # which no coroutine can raise
        future.set_exception(RuntimeError(repr(error)).with_traceback(error.__traceback__))
        del future
    except BaseException as error:  # noqa: BLE001 - it is raised in the task
        future.set_exception(error)
        del future  # the traceback of its error refers to this frame
    else:
        future.set_result(result)
