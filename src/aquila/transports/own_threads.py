"""Runs functions that read or write files in threads, for the requests of an event loop."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from anyio import CancelScope, to_thread

T = TypeVar("T")


async def run_in_thread(function: Callable[..., Any], *arguments: Any) -> Any:
    """Run a function in a thread. It is completed even if the caller is cancelled, also if it is cancelled twice."""
    work = functools.partial(contextvars.copy_context().run, function, *arguments)
    with CancelScope(shield=True):
        return await (_run_in_own_thread(work) if _is_asyncio() else to_thread.run_sync(work))


async def _run_in_own_thread(work: Callable[[], T]) -> T:
    """Run it in a thread that ends with it.

    A worker of anyio waits for more until its event loop tells it to end. A loop that a second Ctrl-C has stopped tells
    it nothing, and the interpreter, at its end, would wait for the worker for ever.
    """
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()  # else cancelling the caller would cancel it
    threading.Thread(target=_complete, args=(future, work), name="aquila files").start()
    return await asyncio.wrap_future(future)


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
