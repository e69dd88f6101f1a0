"""Locks that a forked child can take, whoever held them in the parent at the moment of the fork.

A fork copies one thread. A lock that another thread holds at that moment is copied as held, and nothing in the child
ever releases it: the first request there would wait for ever. Worker processes of Huey, ``multiprocessing`` and servers
that load the application before they fork all meet that sooner or later.

There are two cures, by what the lock guards. Both leave a plain lock of ``threading`` in the hands of their callers.
Objects that a child never uses, such as those of one answer of ``ask``, need neither.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol, TypeVar
    from weakref import WeakSet

    class _AnyLock(Protocol):
        def acquire(self) -> bool: ...
        def release(self) -> None: ...

    Lock = TypeVar("Lock", bound=_AnyLock)
else:
    from _weakrefset import WeakSet  # where `threading` has it from; `weakref` would cost every test run its import

_renewed: WeakSet[Any] = WeakSet()
"""The locks that ``renewed_in_child`` was given. A lock leaves the set with the object that it belongs to."""


def renewed_in_child(lock: Lock) -> Lock:
    """Return ``lock``, which will be free in each forked child.

    For what stays usable when a change to it is left half-done: the change was to serve a thread that the child does
    not have. A fork never waits for such a lock, so it may be held for long, or while another one is taken.
    """
    _renewed.add(lock)
    return lock


def held_at_fork(lock: Lock) -> Lock:
    """Return ``lock``, for which each fork will wait, so that no child sees a change half-done.

    For a lock of the whole process that is held for moments, while nothing else is taken or waited for: otherwise the
    fork and the thread that it waits for could each wait for what the other holds.
    """
    if hasattr(os, "register_at_fork"):  # Windows has neither this function nor fork.
        os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)
    return lock


def _renew_locks() -> None:
    for lock in list(_renewed):
        # What the thread that forked holds itself, it releases itself, in the child too. A lock that is not re-entrant
        # does not tell who holds it; nothing forks while it holds one of those. Asked for by the method and not by the
        # class, which gevent replaces while a program runs.
        is_owned = getattr(lock, "_is_owned", None)
        if is_owned is None or not is_owned():
            # As `threading` and `logging` do with theirs. In place, because objects share locks.
            lock._at_fork_reinit()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)
