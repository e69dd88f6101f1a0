"""Locks that a forked child can take, whoever held them in the parent at the moment of the fork.

A fork copies one thread. A lock that another thread holds at that moment is copied as held, and nothing in the child
ever releases it: the first request there would wait for ever. Worker processes of Huey, ``multiprocessing`` and servers
that load the application before they fork all meet that sooner or later.

There are two cures, by what the lock guards. Both leave a plain lock of ``threading`` in the hands of their callers.
Objects that a child never uses, such as those of one answer of ``ask``, need neither.
"""

from __future__ import annotations

import os
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
    from _weakrefset import WeakSet  # where `threading` has it from; `weakref` would cost every test run its import

_renewed: WeakSet[Any] = WeakSet()
"""The locks that ``renewed_in_child`` was given. A lock leaves the set with the object that it belongs to."""

_held: list[_AnyLock] = []
"""The locks that ``held_at_fork`` was given, each at the top of a module. They live as long as the process."""
_forking = RLock()
"""Held from before a fork to after it, in both processes: two threads that fork at once do so one after the other."""
_LONGEST_FORK = 60.0
"""For how many seconds one waits for the other: more than all its waits together, of which each has its end."""
_taken: list[_AnyLock] = []
"""Those of ``_held`` that its owner has taken so far."""
_PATIENCE = 0.05
"""How many seconds a fork waits for a lock while it holds others."""

_around: list[tuple[Callable[[], object], _AfterFork]] = []
"""What ``call_around_forks`` was given, by modules that live as long as the process."""


def renewed_in_child(lock: Lock) -> Lock:
    """Return ``lock``, which will be free in each forked child.

    For what stays usable when a change to it is left half-done: the change was to serve a thread that the child does
    not have. A fork never waits for such a lock, so it may be held for long, or while another one is taken.
    """
    _renewed.add(lock)
    return lock


def held_at_fork(lock: Lock) -> Lock:
    """Return ``lock``, for which each fork will wait, so that no child sees a change half-done.

    For a lock of the whole process that is held for moments. Who holds one of these may take another one: where the
    garbage collector ends an answer, a thread does so between any two steps.
    """
    _held.append(lock)
    return lock


def call_around_forks(before: Callable[[], object], after: _AfterFork) -> None:
    """Call ``before`` before each fork, and ``after`` in both processes, for what is more than a lock.

    ``after`` is told whether it is ``in_child``. A fork has waited for the imports of other threads before. No other
    thread forks meanwhile.
    """
    _around.append((before, after))


def _prepare() -> None:
    # First, because who imports may take one of the locks. The hook of `lazy_imports` itself may come after this one.
    wait_for_imports()
    got: list[bool] = []
    insist_on(lambda: got.append(_forking.acquire(timeout=_LONGEST_FORK)), lambda: got)
    for before, _ in _around:
        take_step(before)
    insist_on(_take_held, lambda: len(_taken) >= len(_held))


def _go_on(*, in_child: bool) -> None:
    # A fork that the handler of a signal makes in the midst of another one of its thread releases the locks of that
    # one, too. To know better, a fork would have to note that it has begun; what a handler raises before the end is
    # noted would then keep all locks for ever, and programs that raise in handlers are many more.
    try:
        while _taken:
            _taken.pop().release()
        for _, after in reversed(_around):
            after(in_child=in_child)
    finally:
        # Not at all where signals kept a fork from taking it, and twice where one came just after it was taken.
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
        # What the thread that forked holds itself, it releases itself, in the child too. A lock that is not re-entrant
        # does not tell who holds it; nothing forks while it holds one of those. Asked for by the method and not by the
        # class, which gevent replaces while a program runs.
        is_owned = getattr(lock, "_is_owned", None)
        if is_owned is None or not is_owned():
            # As `threading` and `logging` do with theirs. In place, because objects share locks.
            lock._at_fork_reinit()


if hasattr(os, "register_at_fork"):  # Windows has neither this function nor fork.
    os.register_at_fork(
        before=_prepare,
        after_in_parent=lambda: _go_on(in_child=False),
        after_in_child=lambda: _go_on(in_child=True),
    )
    os.register_at_fork(after_in_child=_renew_locks)
