"""Chooses how an unanswered request is raised: as an outcome of the test, or as an ordinary exception.

An outcome is a ``BaseException`` like pytest's own. It passes through ``except Exception``, so no client retries or
wraps it. It is raised in the thread of the test, where pytest catches it. In another thread it would end a worker,
break a pool, or let code wait for a result for ever; there an ordinary exception is raised. ``outcome_boundary`` is for
code that runs other code in such a place and turns an outcome into an ordinary exception afterwards.
"""

from __future__ import annotations

import contextlib
import operator
import os
import sys
import threading
import types
from collections.abc import Callable, Hashable, Iterator
from typing import Any

from aquila.errors import UnansweredRequest
from aquila.recording import runtime


def suit_to_place(error: UnansweredRequest) -> UnansweredRequest:
    """Return a copy of ``error``, without a traceback, that may be raised here: an outcome or an ordinary exception."""
    run = runtime.current_run()
    if run.make_outcome is not None and takes_outcomes(run):
        return run.make_outcome(error)
    return to_ordinary(error)


def takes_outcomes(run: runtime.Run) -> bool:
    """Say whether an outcome that is raised here reaches the test runner of ``run``, or a boundary."""
    # The process is compared, too: the main thread of a forked child has the same id as the thread that forked.
    here = threading.get_ident()
    reaches = run.process == os.getpid() and (here == run.thread or here in run.bounded_threads)
    return reaches and not is_in_background_task()


def is_in_background_task() -> bool:
    """Say whether this is an asyncio task that nothing awaits, while the loop runs until another task is done.

    Such a task reports its results by other means, such as a queue or a future, and its failures in an
    ``except Exception``. An outcome would end it silently, and the reader of the queue would wait for ever. The same
    holds for the tasks that it awaits, as a workflow awaits its steps.
    """
    asyncio = sys.modules.get("asyncio")  # if nothing has imported it, this is no task, and the import is saved
    if asyncio is None:
        return False
    try:
        task = asyncio.current_task()
    except RuntimeError:  # no loop runs in this thread
        return False
    if task is None or _is_awaited_to_the_end(task, asyncio.isfuture):
        return False
    # `run_until_complete` adds a callback of `asyncio.base_events` to its task. If no task has one, the loop runs for a
    # plain future or for ever, and this task may be the test itself.
    return any("asyncio.base_events" in map(_module_of, _waiting_callbacks(other)) for other in asyncio.all_tasks())


def _is_awaited_to_the_end(task: Any, is_future: Callable[[Any], bool]) -> bool:
    """Say whether ``run_until_complete`` waits for a task, or for one that awaits it, and so on; or what is unknown."""
    seen, left = {id(task)}, [task]
    while left:
        future = left.pop()
        for callback in _waiting_callbacks(future):
            waiters = [each for each in _held_by(callback) if each is not future and is_future(each)]
            # A group of anyio waits for its tasks. The future in its callback is that of `start`, which is done first.
            if not waiters or _module_of(callback).startswith("anyio"):
                return True
            left += [each for each in waiters if id(each) not in seen]
            seen.update(map(id, waiters))
    return False


def _waiting_callbacks(future: Any) -> list[Any]:
    """Return the callbacks by which asyncio or anyio wait for a task or a future."""
    # A private attribute of `asyncio.Future` (the C and the Python class have it): there is no public way to ask.
    # Callbacks of programs, such as the `set.discard` of the documentation's recipe, wait for nothing.
    callbacks = [row[0] for row in getattr(future, "_callbacks", None) or ()]
    return [each for each in callbacks if _module_of(each).partition(".")[0] in _LOOP_LIBRARIES]


def _module_of(callback: Any) -> str:
    function = getattr(callback, "func", callback)
    return getattr(function, "__module__", None) or type(getattr(function, "__self__", None)).__module__


def _held_by(callback: Any) -> list[Any]:
    """Return what a callback of asyncio acts on: the object of a method, arguments of a partial, values of a closure.

    A task that awaits is the object of its own method, and a ``TaskGroup`` has it as ``_parent_task``. ``gather``,
    ``wait``, ``shield`` and ``wait_for`` hold a future that it awaits.
    """
    owner = getattr(callback, "__self__", None)
    cells = getattr(callback, "__closure__", None) or ()
    contents = [cell.cell_contents for cell in cells if cell != _EMPTY_CELL]
    return [owner, getattr(owner, "_parent_task", None), *getattr(callback, "args", ()), *contents]


_EMPTY_CELL = types.CellType()
_LOOP_LIBRARIES = ("asyncio", "_asyncio", "anyio")


def attempt_of(raised: UnansweredRequest, key: str) -> Hashable:
    """Return a value that is equal for all attempts at one request, so that repeated misses are counted once.

    ``raised`` is the error of the attempt, ``key`` that of the request. Returns None for an outcome, after which no
    client tries again. After an ordinary exception a client may try again, in the same thread.
    """
    tests = runtime.current_run().make_outcome is not None
    return (threading.get_ident(), key) if tests and isinstance(raised, Exception) else None


def to_ordinary(error: UnansweredRequest) -> UnansweredRequest:
    """Return a new error with the same content, as an ordinary exception."""
    return type(error).public_class(str(error), **error.facts)


@contextlib.contextmanager
def outcome_boundary() -> Iterator[None]:
    """Let outcomes be raised within the block, and turn an outcome that leaves it into an ordinary exception.

    The thread is in ``Run.bounded_threads`` meanwhile. A boundary within another one does nothing.
    """
    run, here = runtime.current_run(), threading.get_ident()
    if run.make_outcome is None or here in run.bounded_threads:
        yield
        return
    run.bounded_threads.add(here)
    try:
        yield
    except Exception:
        raise  # before the next clause: an `ExceptionGroup` is a `BaseExceptionGroup`, and has no outcomes in it
    except (UnansweredRequest, BaseExceptionGroup) as error:
        raise ordinary_form(error) from None
    finally:
        run.bounded_threads.discard(here)


def ordinary_form(error: BaseException) -> BaseException:
    """Return ``error`` with ordinary exceptions in place of the outcomes in it, or itself if it has none.

    A group that has only ordinary exceptions then is an ``ExceptionGroup``. What caused an error, its traceback and its
    notes stay with it.
    """
    made: BaseException
    if isinstance(error, Exception):  # an `ExceptionGroup` has no outcomes in it
        return error
    if isinstance(error, UnansweredRequest):
        made = to_ordinary(error)
    elif isinstance(error, BaseExceptionGroup):
        inside = [ordinary_form(each) for each in error.exceptions]
        if all(map(operator.is_, inside, error.exceptions)):
            return error
        made = BaseExceptionGroup(error.message, inside)
    else:
        return error
    made.__cause__, made.__context__ = error.__cause__, error.__context__
    made.__suppress_context__ = error.__suppress_context__
    for note in getattr(error, "__notes__", ()):
        made.add_note(note)
    return made.with_traceback(error.__traceback__)


def walk_errors(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, and all that led to it: causes, contexts, and the errors of groups. Each once."""
    seen: set[int] = set()  # `raise error from cause` can close a circle
    left = [error]
    while left:
        each = left.pop()
        if id(each) not in seen:
            seen.add(id(each))
            more = (*getattr(each, "exceptions", ()), each.__context__, each.__cause__)
            left += [one for one in more if isinstance(one, BaseException)]
            yield each
