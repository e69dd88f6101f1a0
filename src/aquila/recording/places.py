"""In which form an unanswered request is raised: as an outcome of the test, or as an ordinary exception.

An outcome passes through ``except Exception``, so no client retries or rewrites it. It is raised in the thread of the
test, where what runs the test expects it. Elsewhere a ``BaseException`` ends a worker, breaks a pool, or leaves whoever
waits for a result waiting: there the ordinary exception is raised. ``outcome_boundary`` is for code that starts others'
code, and can turn an outcome into an exception at the end of it.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Hashable, Iterator
from typing import Any

from aquila.errors import UnansweredRequest
from aquila.recording import runtime


def suit_to_place(error: UnansweredRequest) -> UnansweredRequest:
    """Return an error in the form in which it is to be raised here. It is made anew, without a traceback."""
    run = runtime.current_run()
    if run.make_outcome is not None and takes_outcomes(run):
        return run.make_outcome(error)
    return to_ordinary(error)


def takes_outcomes(run: runtime.Run) -> bool:
    """Whether an outcome that is raised here reaches what runs the tests of ``run``, or a boundary."""
    # A forked child has the threads of its parent by number.
    here = threading.get_ident()
    reaches = run.process == os.getpid() and (here == run.thread or here in run.bounded_threads)
    return reaches and not is_in_background_task()


def is_in_background_task() -> bool:
    """Whether this is a task of asyncio for which nothing waits, while the loop runs until another one is done.

    What such a task finds out it tells by other means, such as a queue or a future, and ``except Exception`` is where
    it tells of failures. An outcome would end it in silence, and whoever waits for the queue would wait for ever.
    """
    asyncio = sys.modules.get("asyncio")
    if asyncio is None:
        return False
    try:
        task = asyncio.current_task()
    except RuntimeError:  # no loop runs in this thread
        return False
    if task is None or _waiting_modules(task):
        return False
    # A loop that runs for a plain future has been handed the work otherwise: then this may be the test itself.
    return any("asyncio.base_events" in _waiting_modules(other) for other in asyncio.all_tasks())


def _waiting_modules(task: Any) -> set[str]:
    """The modules of what the event loop's libraries have to wait for a task."""
    # There is no public way to ask. A program's own callbacks, such as `set.discard`, wait for nothing.
    callbacks = [getattr(row[0], "func", row[0]) for row in getattr(task, "_callbacks", None) or ()]
    modules = {
        getattr(each, "__module__", None) or type(getattr(each, "__self__", None)).__module__ for each in callbacks
    }
    return {module for module in modules if module.partition(".")[0] in _LOOP_LIBRARIES}


_LOOP_LIBRARIES = ("asyncio", "_asyncio", "anyio")


def attempt_of(raised: UnansweredRequest, key: str) -> Hashable:
    """Return what is equal for each attempt at one request, or None if the error that is raised allows only one.

    ``key`` is that of the request. Beside a test a client may catch the exception and try again, in the same thread.
    """
    tests = runtime.current_run().make_outcome is not None
    return (threading.get_ident(), key) if tests and isinstance(raised, Exception) else None


def to_ordinary(error: UnansweredRequest) -> UnansweredRequest:
    """Return an error anew, as an ordinary exception."""
    return type(error).public_class(str(error), difference=error.difference, group=error.group)


def needs_boundary() -> bool:
    """Whether ``outcome_boundary`` would do anything: outside of pytest there are no outcomes."""
    return runtime.current_run().make_outcome is not None


@contextlib.contextmanager
def outcome_boundary() -> Iterator[None]:
    """Let outcomes be raised within the block, and turn one that leaves it into an ordinary exception."""
    run, here = runtime.current_run(), threading.get_ident()
    if run.make_outcome is None or here in run.bounded_threads:
        yield
        return
    run.bounded_threads.add(here)
    try:
        yield
    except Exception:
        raise
    except (UnansweredRequest, BaseExceptionGroup) as error:
        raise _ordinary_form(error).with_traceback(error.__traceback__) from None
    finally:
        run.bounded_threads.discard(here)


def _ordinary_form(error: BaseException) -> BaseException:
    if isinstance(error, BaseExceptionGroup):
        return BaseExceptionGroup(error.message, [_ordinary_form(each) for each in error.exceptions])
    if isinstance(error, UnansweredRequest) and not isinstance(error, Exception):
        return to_ordinary(error).with_traceback(error.__traceback__)
    return error


def only_unanswered(error: BaseException) -> UnansweredRequest | None:
    """Return the first error of a group that holds nothing but unanswered requests, or the error if it is one."""
    if isinstance(error, UnansweredRequest):
        return error
    if isinstance(error, BaseExceptionGroup):
        found = [only_unanswered(each) for each in error.exceptions]
        return found[0] if all(found) else None
    return None
