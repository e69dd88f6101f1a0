"""Locks that a forked child can take, even if another thread of the parent held them during the fork.

A fork copies one thread. A lock that another thread holds at that moment is copied as held, and nothing in the child
ever releases it: the first request there would wait for ever. Worker processes of Huey, ``multiprocessing`` and servers
that load the application before they fork all meet that sooner or later.

``renewed_in_child`` and ``held_at_fork`` are the two ways out; which one fits depends on what the lock guards. Both
return the plain lock of ``threading`` that they were given. Objects that a child never uses, such as those of one
answer of ``ask``, need neither.
"""

from __future__ import annotations

import os
import sys
from _thread import RLock

from aquila.lazy_imports import insist_on, take_step, wait_for_imports

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol, TypeVar
    from weakref import WeakSet

    class _AfterFork(Protocol):
        def __call__(self, *, in_child: bool) -> object: ...

    class _AnyLock(Protocol):
        def acquire(self, blocking: bool = ..., timeout: float = ...) -> bool: ...
        def release(self) -> None: ...

    Lock = TypeVar("Lock", bound=_AnyLock)
else:
    from _weakrefset import WeakSet  # `threading` imports it from here, too; importing `weakref` would cost every run

_renewed: WeakSet[Any] = WeakSet()
"""The locks that ``renewed_in_child`` was given. A lock leaves the set when it is deleted."""

_held: list[_AnyLock] = []
"""The locks that ``held_at_fork`` was given. Each belongs to a module, and lives as long as the process."""
_forking = RLock()
"""Held during a fork, in both processes, so that threads fork one after the other."""
_LONGEST_FORK = 60.0
"""How many seconds a thread waits for the fork of another thread. All waits within a fork together are shorter."""
_taken: list[_AnyLock] = []
"""The locks of ``_held`` that the forking thread has taken so far."""
_PATIENCE = 0.05
"""How many seconds a fork waits for a lock while it holds others."""

_around: list[tuple[Callable[[], object], _AfterFork]] = []
"""The pairs of functions that ``call_around_forks`` was given. They live as long as the process."""


def renewed_in_child(lock: Lock) -> Lock:
    """Return ``lock``, which will be free in each forked child.

    Use it if the guarded data stays usable when a thread of the parent has changed only a part of it: the child does
    not have that thread. A fork never waits for such a lock. So it may be held for long, or while another one is taken.
    """
    _renewed.add(lock)
    return lock


def held_at_fork(lock: Lock) -> Lock:
    """Return ``lock``, for which each fork will wait, so that no child sees a half-done change.

    Use it for a lock of the whole process that is held only for moments. A thread that holds such a lock may take
    another one: the garbage collector may end an answer at any time, and that takes locks.
    """
    _held.append(lock)
    return lock


def call_around_forks(before: Callable[[], object], after: _AfterFork) -> None:
    """Call ``before`` before each fork, and ``after(in_child=...)`` after it in both processes.

    ``before`` is called after the imports of other threads have ended. No other thread forks between the two calls.
    """
    _around.append((before, after))


def are_threads_greenlets() -> bool:
    """Whether gevent has put greenlets in the place of threads."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))


def _prepare() -> None:
    # First, because a thread that imports may take one of the locks. `lazy_imports` has a hook of its own for this,
    # which may run later.
    wait_for_imports()
    got: list[bool] = []
    insist_on(lambda: got.append(_forking.acquire(timeout=_LONGEST_FORK)), lambda: got)
    for before, _ in _around:
        take_step(before)
    insist_on(_take_held, lambda: len(_taken) >= len(_held))


def _go_on(*, in_child: bool) -> None:
    # If the handler of a signal forks while its thread is forking, the inner fork releases the locks of the outer one,
    # too. Counting forks would prevent that. But an exception of a handler between the count and its end would then
    # keep all locks for ever, and handlers that raise are far more frequent than handlers that fork.
    try:
        while _taken:
            _taken.pop().release()
        for _, after in reversed(_around):
            after(in_child=in_child)
    finally:
        # Signals may have kept this fork from taking the lock, or have made it take the lock twice.
        while _forking._is_owned():  # type: ignore[attr-defined]
            _forking.release()


def _take_held() -> None:
    """Take all locks of ``_held``."""
    while len(_taken) < len(_held):
        lock = _held[len(_taken)]
        if lock.acquire(timeout=_PATIENCE if _taken else -1):
            _taken.append(lock)
        else:  # its holder may be waiting for one of those that were taken
            while _taken:
                _taken.pop().release()


def _renew_locks() -> None:
    for lock in list(_renewed):
        # A lock that the forking thread itself holds is left alone: the thread releases it in the child, too. A lock
        # that is not re-entrant does not know its owner, but no thread forks while it holds one of these. The method is
        # looked up, not the class, because gevent replaces the class while a program runs.
        is_owned = getattr(lock, "_is_owned", None)
        if is_owned is None or not is_owned():
            # `threading` and `logging` do the same with their locks. In place, because objects share locks.
            lock._at_fork_reinit()


if hasattr(os, "register_at_fork"):  # Windows has neither this function nor fork.
    os.register_at_fork(
        before=_prepare,
        after_in_parent=lambda: _go_on(in_child=False),
        after_in_child=lambda: _go_on(in_child=True),
    )
    os.register_at_fork(after_in_child=_renew_locks)
