"""What is in force while a scope is open: interception, dummy keys, and the stamp for child processes.

``watch_scopes`` makes it so in this process. Whoever opens scopes around other people's code calls it.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING

from aquila.intercept import child_processes, dummy_keys, httpx_clients
from aquila.recording import runtime

if TYPE_CHECKING:
    from aquila.recording.scope import Scope

_lock = threading.RLock()


def _foreign() -> ModuleType:
    from aquila.intercept import vcr_clients  # here: test runs that open no scope need not load it

    return vcr_clients


class _Surroundings:
    """Keeps what lies around the code under test in step with the scopes that are open."""

    def __init__(self) -> None:
        self._open: dict[str, Scope] = {}
        self._held: set[str] = set()  # those that are open, and those that are suspended
        self._inherited: str | None = None

    def scope_opened(self, scope: Scope) -> None:
        """A scope is open, or has changed."""
        with _lock:
            if not self._open:
                self._inherited = os.environ.get(child_processes.VARIABLE)
            self._open[scope.id] = scope
            self._held.add(scope.id)
            httpx_clients.hold(scope.id, scope=True)
            _foreign().hold(scope.id)
            self._adjust()

    def scope_suspended(self, scope: Scope) -> None:
        """A scope surrounds nothing for a while. Its interception stays: what is bound to it may make requests."""
        with _lock:
            if self._open.pop(scope.id, None) is not None:
                self._adjust()

    def scope_closed(self, scope: Scope) -> None:
        """A scope is no longer open."""
        with _lock:
            if self._open.pop(scope.id, None) is not None:
                self._adjust()
            if scope.id in self._held:
                self._held.discard(scope.id)
                httpx_clients.release(scope.id)
                _foreign().release(scope.id)

    def _adjust(self) -> None:
        # One that was suspended was opened anew after those within it.
        scopes = sorted(self._open.values(), key=lambda scope: len(list(scope.enclosing())))
        answering = [scope for scope in scopes if scope.default_cassette is not None]
        replaying = bool(answering) and all(scope.settings.transport == "replay" for scope in answering)
        if replaying:
            dummy_keys.replace_keys(answering[-1].settings.dummy_keys)
        else:
            dummy_keys.restore_keys()
        if scopes:
            one = scopes[-1] if _are_nested(scopes) else None
            os.environ[child_processes.VARIABLE] = child_processes.describe_run(one)
        elif self._inherited is None:
            os.environ.pop(child_processes.VARIABLE, None)
        else:
            os.environ[child_processes.VARIABLE] = self._inherited


def _are_nested(scopes: list[Scope]) -> bool:
    """Whether each scope surrounds the next; of scopes beside each other a child could not tell which is meant."""
    return all(inner.parent is outer for outer, inner in itertools.pairwise(scopes))


_surroundings = _Surroundings()


def watch_scopes() -> None:
    """Watch scopes from now on, for as long as the process lives."""
    with _lock:
        runtime.current_run().scopes.watch(_surroundings)


@contextlib.contextmanager
def guard_run() -> Iterator[None]:
    """Refuse what no scope answers until the block ends, here and in child processes, as the settings say."""
    holder = install_guard()
    if holder is None:
        yield
        return
    try:
        with child_processes.tell_child_processes():
            yield
    finally:
        from aquila.intercept import socket_guard

        socket_guard.release(holder)
        httpx_clients.release(holder)


def install_guard() -> object | None:
    """Refuse what no scope answers in this process from now on. Returns what holds it, or None if it is turned off."""
    watch_scopes()
    if runtime.current_settings().guard == "off":
        return None
    from aquila.intercept import socket_guard

    holder = object()
    httpx_clients.hold(holder)
    socket_guard.hold(holder)
    return holder
