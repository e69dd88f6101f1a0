"""What is in force while a scope is open: interception, dummy keys, and the variable for child processes.

``Interception`` holds all of it. A process has one, because it has one environment and one of each patched class.
``run_guard``, which every run loads, has it made when something first asks for it; what a run has put in force there
goes on here. Code that opens scopes around other people's code calls ``watch_scopes`` first.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from aquila.fork_locks import renewed_in_child
from aquila.intercept import child_processes, dummy_keys, run_guard
from aquila.intercept.dummy_keys import DummyKeys
from aquila.intercept.patching import ImportHooks, Patch, PatchSet, Undoable
from aquila.intercept.run_guard import interception, watch_scopes
from aquila.lazy_imports import lazy_modules
from aquila.recording import runtime
from aquila.recording.environment import set_own_variables, unset_own_variables

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import ModuleType

    from aquila import errors
    from aquila.intercept import httpx_clients, other_clients, socket_guard
    from aquila.intercept.run_guard import FirstGuard, RunGuard, Wire
    from aquila.intercept.socket_guard import SocketGuard
    from aquila.intercept.web_sockets import clients as web_socket_clients
    from aquila.recording import scripts
    from aquila.recording.scope import Scope
    from aquila.settings import Settings
else:
    lazy_modules(
        globals(),
        errors="aquila.errors",
        httpx_clients="aquila.intercept.httpx_clients",
        scripts="aquila.recording.scripts",
        socket_guard="aquila.intercept.socket_guard",
        other_clients="aquila.intercept.other_clients",
        web_socket_clients="aquila.intercept.web_sockets.clients",
    )


class _Inherited:
    """What a run has inherited: the ``value`` of the variable for child processes before its first scope opened.

    It is put back after its last scope.
    """

    value: str | None = None


class Interception:
    """Keeps what is around the code under test in step with the scopes that are open."""

    def __init__(self) -> None:
        self._import_hooks = ImportHooks()
        # A stack, the innermost run last. The first entry is for the process itself, which shows no dummies.
        self._dummy_keys = [DummyKeys(dummy_keys.NO_DUMMIES)]
        libraries = {
            **dict.fromkeys(run_guard.HTTPX_FAMILY, self._patch_httpx),
            **dict.fromkeys(run_guard.OTHER_CLIENTS, self._patch_other_client),
            **dict.fromkeys(run_guard.WEB_SOCKETS, self._patch_web_sockets),
            run_guard.EXECUTORS: self._patch_executors,
            "threading": self._patch_threads,
        }
        self._client_patches = PatchSet(self._import_hooks, libraries)
        self._stub_patches = PatchSet(self._import_hooks, {})
        connecting = {
            **dict.fromkeys(("socket", run_guard.GEVENT_SOCKETS), self._patch_sockets),
            **dict.fromkeys(run_guard.CONNECTING, self._patch_connecting),
        }
        self._connection_patches = PatchSet(self._import_hooks, connecting)
        # Any thread may open or close a scope. The lock lets one thread at a time change the environment and the fields
        # below.
        self._lock = renewed_in_child(threading.RLock())
        # The scopes that surround other code now, by id.
        self._open: dict[str, Scope] = {}
        # The ids of those for which clients are intercepted: the open ones, and those that are suspended.
        self._intercepting: set[str] = set()
        # By module: what `FirstGuard` has replaced, until the patch sets have it.
        self._first_wires: dict[str, list[Wire]] = {}

    def carry_on(self, first: FirstGuard) -> None:
        """Take over what a run has had in force before this object was made."""
        guarded = first.guarded
        if guarded is None:
            return
        with self._lock:
            self._first_wires.update(first.wires)
            self.put_guard_in_force(guarded.holder)
            guarded.keys = DummyKeys.take_over(first.replaced)
            self._dummy_keys.append(guarded.keys)
            first.stop_waiting()

    def find_spec(self, name: str) -> ModuleSpec | None:
        """Find the module of a client, which will be patched when it is loaded."""
        return self._import_hooks.find_spec(name)

    # Most runs import none of these libraries, so the modules that patch them are loaded when one is imported.

    def _patch_httpx(self, module: ModuleType) -> Iterable[Undoable]:
        return httpx_clients.HttpxClients(self._client_patches, self._intercepting).patch_library(module)

    def _patch_other_client(self, module: ModuleType) -> Iterable[Undoable]:
        return other_clients.OtherClients(self._client_patches, self._stub_patches).patch_library(module)

    def _patch_web_sockets(self, module: ModuleType) -> Iterable[Undoable]:
        return web_socket_clients.WebSocketClients(self._client_patches).patch_library(module)

    def _patch_executors(self, module: ModuleType) -> Iterable[Undoable]:
        return httpx_clients.patch_executors(module)

    def _patch_connecting(self, module: ModuleType) -> Iterable[Undoable]:
        return self.socket_guard.patch_library(module)

    # What is there already is what the run began with, when nothing had asked for this object.

    def _patch_sockets(self, module: ModuleType) -> Iterable[Undoable]:
        for wire in self._first_wires.pop(module.__name__, None) or run_guard.wire_sockets(module):
            yield Patch.take_over(*wire)

    def _patch_threads(self, module: ModuleType) -> Iterable[Undoable]:
        for wire in self._first_wires.pop(module.__name__, None) or run_guard.wire_threads(module):
            yield Patch.take_over(*wire)

    @property
    def socket_guard(self) -> SocketGuard:
        """The guard of connections. Two threads may both be the first to need it; one object is kept."""
        made: SocketGuard | None = self.__dict__.get("_socket_guard")
        return made or self.__dict__.setdefault("_socket_guard", socket_guard.SocketGuard(self._connection_patches))

    def scope_opened(self, scope: Scope) -> None:
        """A scope is open, or has changed."""
        with self._lock:
            if not self._scopes_of(scope.run):
                scope.run.state_of(_Inherited).value = os.environ.get(run_guard.VARIABLE)
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

    def scope_ending(self, scope: Scope) -> None:
        """A scope is about to close."""
        if "_socket_guard" in self.__dict__:
            self.socket_guard.end_scope(scope)

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
            self._connection_patches.put_in_force(holder)

    def renew_guard(self) -> None:
        """Guard again what other tools have put back as it was without the guard."""
        self._connection_patches.renew()

    def withdraw_guard(self, holder: object) -> None:
        """Undo ``put_guard_in_force``."""
        with self._lock:
            self._connection_patches.withdraw(holder)
            self._client_patches.withdraw(holder)

    @contextlib.contextmanager
    def clients_caught(self) -> Iterator[None]:
        """Catch clients until the block ends, also where no scope is open."""
        holder = object()
        with self._lock:
            self._client_patches.put_in_force(holder)
        try:
            yield
        finally:
            with self._lock:
                self._client_patches.withdraw(holder)

    @contextlib.contextmanager
    def dummies_shown(self, dummies: Mapping[str, str]) -> Iterator[DummyKeys]:
        """Show ``dummies`` until the block ends, while no scope that is opened within it says otherwise."""
        with self._dummy_keys[-1].suspended():
            with self._lock:
                keys = DummyKeys(dummies, self._open)
                self._dummy_keys.append(keys)
                self._adjust_keys()
            try:
                yield keys
            finally:
                self.end_dummies(keys)

    def end_dummies(self, keys: DummyKeys) -> None:
        """Show the dummies of a run no longer."""
        with self._lock:
            self._dummy_keys.remove(keys)
            keys.show(dummy_keys.NO_DUMMIES)

    def change_dummies(self, keys: DummyKeys, dummies: Mapping[str, str]) -> None:
        """Replace the dummies that ``dummies_shown`` was given, also where a variable was set since then."""
        with self._lock:
            keys.base = dummies
            self._adjust_keys()
            keys.cover_what_was_set()

    def _scopes_of(self, run: runtime.Run) -> list[Scope]:
        """The open scopes of a run, outermost first. Child processes join one of the run that starts them."""
        return [scope for scope in self._sort_open() if scope.run is run]

    def _sort_open(self) -> list[Scope]:
        if len(self._open) < 2:
            return list(self._open.values())
        # By depth and not by the order of opening: a scope that was suspended opens again after those within it.
        return sorted(self._open.values(), key=lambda scope: len(scope.enclosing()))

    def _adjust_environment(self, run: runtime.Run) -> None:
        """Bring the keys in step with all scopes, and the variable for child processes with those of ``run``."""
        self._adjust_keys()
        scopes = self._scopes_of(run)
        if scopes:
            innermost = scopes[-1] if _are_nested(scopes) else None
            set_own_variables({run_guard.VARIABLE: child_processes.describe_scope(innermost)})
        elif (inherited := run.state_of(_Inherited).value) is None:
            unset_own_variables((run_guard.VARIABLE,))
        else:
            set_own_variables({run_guard.VARIABLE: inherited})

    def _adjust_keys(self) -> None:
        """Show a dummy for each key that nothing needs now."""
        keys = self._dummy_keys[-1]
        scopes = [scope for scope in self._sort_open() if scope.id not in keys.outside]
        answering = [scope for scope in scopes if scope.default_cassette is not None or scope.has_script]
        deciding = [(scope, scope.settings) for scope in answering or scopes]
        if not deciding:
            dummies = keys.base
        elif not all(itertools.starmap(_needs_no_key, deciding)):
            dummies = dummy_keys.NO_DUMMIES
        else:
            show = dummy_keys.dummies_of_scope if answering else dummy_keys.dummies_of_run
            dummies = show(deciding[-1][1])
        keys.show(dummies, anew=len(scopes) == 1)


def _needs_no_key(scope: Scope, settings: Settings) -> bool:
    return dummy_keys.needs_no_key(settings) or (settings.transport == "record" and scripts.is_answered_by_hand(scope))


def _are_nested(scopes: list[Scope]) -> bool:
    """Say whether each scope surrounds the next. Of two scopes side by side, a child process could not choose one."""
    return all(inner.parent is outer for outer, inner in itertools.pairwise(scopes))


def make_interception(first: FirstGuard) -> Interception:
    """Make the interception of this process, unless it is made, and let it carry on what is in force.

    Whoever else asks for it meanwhile waits, because until then it would guard nothing.
    """
    with run_guard.LOCK:
        if first.interception_made is None:
            first.interception_made = Interception()
            first.interception_made.carry_on(first)
            first.is_ready = True
        return first.interception_made


def refuse(guarded: RunGuard) -> None:
    """Refuse what no scope answers in a run, as the present settings say."""
    before, guarded.holder = guarded.holder, install_guard()
    if before is not None:
        interception().withdraw_guard(before)


def withdraw_guard(guarded: RunGuard) -> None:
    """Undo ``refuse``."""
    before, guarded.holder = guarded.holder, None
    if before is not None:
        interception().withdraw_guard(before)


def follow_settings(guarded: RunGuard, *, shows_keys: bool) -> None:
    """Apply settings of a run that have changed. ``shows_keys``: hide no keys after all."""
    around = interception()
    if guarded.keys is not None:
        around.change_dummies(guarded.keys, dummy_keys.NO_DUMMIES if shows_keys else dummies_in_force())
    refuse(guarded)


def show_keys(guarded: RunGuard) -> None:
    """Put the keys of the machine back when a run ends that has begun with the ``FirstGuard``."""
    around = interception()
    if guarded.keys is not None:
        around.end_dummies(guarded.keys)


def dummies_in_force() -> Mapping[str, str]:
    """The dummies of the current run. Without a guard there are none: what has no cassette goes out and needs a key."""
    settings = runtime.current_run().layers.at_start()
    return dummy_keys.NO_DUMMIES if settings.guard == "off" else dummy_keys.dummies_of_run(settings)


def install_guard() -> object | None:
    """Refuse what no scope answers in this process from now on. Return the guard's holder, or None if it is off.

    With settings that are wrong the guard is on. Then what is asked raises the error that says what is wrong.
    """
    watch_scopes()
    try:
        is_off = runtime.current_run().layers.at_start().guard == "off"
    except errors.AquilaError:
        is_off = False
    if is_off:
        return None
    holder = object()
    interception().put_guard_in_force(holder)
    return holder
