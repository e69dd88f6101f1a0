"""What is in force while a scope is open: interception, dummy keys, and the stamp for child processes.

``begin`` makes it so in this process. Whoever opens scopes around other people's code calls it.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING

from aquila import _ambient, config
from aquila.transports import children, intercept, keys

if TYPE_CHECKING:
    from aquila.cassettes.scope import Scope

_lock = threading.RLock()


def _foreign() -> ModuleType:
    from aquila.transports import foreign  # here: test runs that open no scope need not load it

    return foreign


class _Surroundings:
    """Keeps what lies around the code under test in step with the scopes that are open."""

    def __init__(self) -> None:
        self._open: dict[str, Scope] = {}
        self._inherited: str | None = None

    def opened(self, scope: Scope) -> None:
        """A scope is open, or has changed."""
        with _lock:
            if not self._open:
                self._inherited = os.environ.get(children.VARIABLE)
            self._open[scope.id] = scope
            intercept.hold(scope.id, scope=True)
            _foreign().hold(scope.id)
            self._adjust()

    def closed(self, scope: Scope) -> None:
        """A scope is no longer open."""
        with _lock:
            if self._open.pop(scope.id, None) is None:
                return
            self._adjust()
            intercept.release(scope.id)
            _foreign().release(scope.id)

    def _adjust(self) -> None:
        scopes = list(self._open.values())
        answering = [scope for scope in scopes if scope.default is not None]
        replaying = bool(answering) and all(scope.settings.transport == "replay" for scope in answering)
        if replaying:
            keys.hide(answering[-1].settings.dummy_keys)
        else:
            keys.restore()
        if scopes:
            one = scopes[-1] if _are_nested(scopes) else None
            os.environ[children.VARIABLE] = children.stamp(one)
        elif self._inherited is None:
            os.environ.pop(children.VARIABLE, None)
        else:
            os.environ[children.VARIABLE] = self._inherited


def _are_nested(scopes: list[Scope]) -> bool:
    """Whether each scope surrounds the next; of scopes beside each other a child could not tell which is meant."""
    return all(inner.parent is outer for outer, inner in itertools.pairwise(scopes))


_surroundings = _Surroundings()


def begin() -> None:
    """Watch scopes from now on, for as long as the process lives."""
    with _lock:
        if _surroundings not in _ambient.watchers:
            _ambient.watchers.append(_surroundings)


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Refuse what no scope answers until the block ends, here and in child processes, as the settings say."""
    holder = guard_on()
    if holder is None:
        yield
        return
    try:
        with children.told():
            yield
    finally:
        from aquila.transports import guard

        guard.release(holder)
        intercept.release(holder)


def guard_on() -> object | None:
    """Refuse what no scope answers in this process from now on. Returns what holds it, or None if it is turned off."""
    begin()
    if config.current().guard == "off":
        return None
    from aquila.transports import guard

    holder = object()
    intercept.hold(holder)
    guard.hold(holder)
    return holder
