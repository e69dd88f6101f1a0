"""What is in force while a scope is open: interception, dummy keys, and what child processes are told.

``Interception`` holds all of it. A process has one, since it has one environment and one of each patched class; the
run around all others owns it. ``watch_scopes`` puts it to work: whoever opens scopes around other people's code calls
that. ``guard_run`` refuses what no scope answers.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from aquila.intercept import child_processes, dummy_keys
from aquila.intercept.dummy_keys import DummyKeys
from aquila.intercept.import_hooks import ImportHooks
from aquila.intercept.patching import Patch, PatchSet, Undoable
from aquila.lazy_imports import lazy_modules
from aquila.recording import runtime
from aquila.transports import HTTPX_FAMILY

if TYPE_CHECKING:
    from types import ModuleType

    from aquila.config import SettingsLayers
    from aquila.intercept import httpx_clients, socket_guard, vcr_clients
    from aquila.intercept.socket_guard import SocketGuard
    from aquila.recording import askers
    from aquila.recording.scope import Scope
else:
    lazy_modules(
        globals(),
        askers="aquila.recording.askers",
        httpx_clients="aquila.intercept.httpx_clients",
        socket_guard="aquila.intercept.socket_guard",
        vcr_clients="aquila.intercept.vcr_clients",
    )


_OTHER_CLIENTS = ("http.client", "urllib3", "httplib2", "aiohttp")
"""The libraries that ``vcr_clients`` patches."""


class Interception:
    """Keeps what is around the code under test in step with the scopes that are open."""

    def __init__(self) -> None:
        self._import_hooks = ImportHooks()
        # Of each run that shows some, the innermost last; the first is that of the process, which shows none.
        self._dummy_keys = [DummyKeys(dummy_keys.NO_DUMMIES)]
        libraries = {
            **dict.fromkeys(HTTPX_FAMILY, self._patch_httpx),
            **dict.fromkeys(_OTHER_CLIENTS, self._patch_other_client),
            "concurrent.futures.thread": self._patch_executors,
            "threading": _patch_threads,
        }
        self._client_patches = PatchSet(self._import_hooks, libraries)
        self._stub_patches = PatchSet(self._import_hooks, {})
        # Any thread may open or close a scope. One at a time changes the environment and the fields below.
        self._lock = threading.RLock()
        # The scopes that surround other code now, by id.
        self._open: dict[str, Scope] = {}
        # The ids of those for which clients are intercepted: the open ones, and those that are suspended.
        self._intercepting: set[str] = set()
        # For each run, what the variable for child processes was before its first scope opened.
        self._inherited: weakref.WeakKeyDictionary[runtime.Run, str | None] = weakref.WeakKeyDictionary()

    # Most runs import neither of these libraries, so what patches them is loaded with the first that is.

    def _patch_httpx(self, module: ModuleType) -> Iterable[Undoable]:
        return httpx_clients.HttpxClients(self._client_patches, self._intercepting).patch_library(module)

    def _patch_other_client(self, module: ModuleType) -> Iterable[Undoable]:
        return vcr_clients.VcrClients(self._client_patches, self._stub_patches).patch_library(module)

    def _patch_executors(self, module: ModuleType) -> Iterable[Undoable]:
        return httpx_clients.patch_executors(module)

    @cached_property
    def socket_guard(self) -> SocketGuard:
        """The guard of connections. Made when a run refuses something."""
        return socket_guard.SocketGuard(self._import_hooks)

    def scope_opened(self, scope: Scope) -> None:
        """A scope is open, or has changed."""
        with self._lock:
            if not self._scopes_of(scope.run):
                self._inherited[scope.run] = os.environ.get(child_processes.VARIABLE)
            self._open[scope.id] = scope
            self._intercepting.add(scope.id)
            self._client_patches.put_in_force(scope.id)
            self._stub_patches.put_in_force(scope.id)
            self._adjust_environment(scope.run)

    def scope_suspended(self, scope: Scope) -> None:
        """A scope surrounds nothing for a while. Its interception stays: what is bound to it may make requests."""
        with self._lock:
            if self._open.pop(scope.id, None) is not None:
                self._adjust_environment(scope.run)

    def scope_closed(self, scope: Scope) -> None:
        """A scope is no longer open."""
        with self._lock:
            if self._open.pop(scope.id, None) is not None:
                self._adjust_environment(scope.run)
            if scope.id in self._intercepting:
                self._intercepting.discard(scope.id)
                self._client_patches.withdraw(scope.id)
                self._stub_patches.withdraw(scope.id)

    def put_guard_in_force(self, holder: object) -> None:
        """Refuse what no scope answers until ``withdraw_guard`` is called with the same ``holder``."""
        with self._lock:
            self._client_patches.put_in_force(holder)
            self.socket_guard.patches.put_in_force(holder)

    def withdraw_guard(self, holder: object) -> None:
        """Undo ``put_guard_in_force``."""
        with self._lock:
            self.socket_guard.patches.withdraw(holder)
            self._client_patches.withdraw(holder)

    @contextlib.contextmanager
    def dummies_shown(self, dummies: Mapping[str, str]) -> Iterator[None]:
        """Show ``dummies`` until the block ends, while no scope that is opened within it says otherwise."""
        with self._dummy_keys[-1].suspended():
            with self._lock:
                self._dummy_keys.append(DummyKeys(dummies, self._open))
                self._adjust_keys()
            try:
                yield
            finally:
                with self._lock:
                    self._dummy_keys.pop().show(dummy_keys.NO_DUMMIES)

    def _scopes_of(self, run: runtime.Run) -> list[Scope]:
        """The open scopes of a run, outermost first. Child processes join one of the run that starts them."""
        return [scope for scope in self._sort_open() if scope.run is run]

    def _sort_open(self) -> list[Scope]:
        # One that was suspended was opened anew after those within it.
        return sorted(self._open.values(), key=lambda scope: len(list(scope.enclosing())))

    def _adjust_environment(self, run: runtime.Run) -> None:
        """Bring the keys in step with all scopes, and the variable for child processes with those of ``run``."""
        self._adjust_keys()
        scopes = self._scopes_of(run)
        if scopes:
            innermost = scopes[-1] if _are_nested(scopes) else None
            os.environ[child_processes.VARIABLE] = child_processes.describe_run(innermost)
        elif (inherited := self._inherited.get(run)) is None:
            os.environ.pop(child_processes.VARIABLE, None)
        else:
            os.environ[child_processes.VARIABLE] = inherited

    def _adjust_keys(self) -> None:
        """Show a dummy for each key that nothing needs now."""
        keys = self._dummy_keys[-1]
        scopes = [scope for scope in self._sort_open() if scope.id not in keys.outside]
        answering = [scope for scope in scopes if scope.default_cassette is not None]
        deciding = answering or scopes
        if not deciding:
            dummies = keys.base
        elif not all(dummy_keys.needs_no_key(scope.settings) for scope in deciding):
            dummies = dummy_keys.NO_DUMMIES
        elif answering:
            dummies = dummy_keys.dummies_of_scope(answering[-1].settings)
        else:
            dummies = dummy_keys.dummies_of_run(scopes[-1].settings)
        keys.show(dummies, anew=len(scopes) == 1)


def _patch_threads(module: ModuleType) -> Iterable[Undoable]:
    yield Patch(module.Thread, "start", _mark_threads)


def _mark_threads(start: Callable[[threading.Thread], None]) -> Callable[[threading.Thread], None]:
    @functools.wraps(start)
    def mark_and_start(thread: threading.Thread) -> None:
        askers.mark_thread(thread)
        start(thread)

    return mark_and_start


def _are_nested(scopes: list[Scope]) -> bool:
    """Whether each scope surrounds the next. Of two side by side, a child process could not tell which is meant."""
    return all(inner.parent is outer for outer, inner in itertools.pairwise(scopes))


def interception() -> Interception:
    """The interception of this process."""
    return runtime.process_run().state_of(Interception)


def watch_scopes() -> None:
    """Intercept for the scopes of the current run from now on, for as long as it lasts."""
    runtime.current_run().scopes.watch(interception())


@contextlib.contextmanager
def show_dummy_keys() -> Iterator[None]:
    """Hide the machine's keys until the block ends, wherever the settings say that nothing needs them.

    So that what a test module makes when it is imported can be made. Does nothing without a guard: then a request that
    has no cassette may go out, and needs a key.
    """
    settings = runtime.current_settings()
    dummies = dummy_keys.NO_DUMMIES if settings.guard == "off" else dummy_keys.dummies_of_run(settings)
    with interception().dummies_shown(dummies):
        yield


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
        interception().withdraw_guard(holder)


def install_guard() -> object | None:
    """Refuse what no scope answers in this process from now on. Return the guard's holder, or None if it is off."""
    watch_scopes()
    if runtime.current_settings().guard == "off":
        return None
    holder = object()
    interception().put_guard_in_force(holder)
    return holder


def guard_from_now_on(layers: SettingsLayers) -> None:
    """Begin a run without tests that never ends: exporters send what they have kept when a process ends."""
    runtime.Run(layers).__enter__()
    install_guard()
