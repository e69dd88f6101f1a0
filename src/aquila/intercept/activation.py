"""Puts in force what an open scope needs: interception, dummy keys, and the variable for child processes.

``Interception`` holds all of it. A process has one, because it has one environment and one of each patched class; the
outermost run owns it. Code that opens scopes around other people's code calls ``watch_scopes`` first. ``RunGuard``
refuses what no scope answers.
"""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from aquila.fork_locks import call_around_forks, renewed_in_child
from aquila.intercept import dummy_keys
from aquila.intercept.patching import ImportHooks, Patch, PatchSet, Undoable
from aquila.intercept.processes import child_processes
from aquila.lazy_imports import late_function, lazy_modules
from aquila.recording import runtime
from aquila.recording.environment import put_variables_back, set_own_variables

if TYPE_CHECKING:
    from types import ModuleType

    from aquila import errors
    from aquila.intercept.connections import socket_guard
    from aquila.intercept.connections.socket_guard import SocketGuard
    from aquila.intercept.http_clients import httpx_clients, other_clients
    from aquila.intercept.web_sockets import clients as web_socket_clients
    from aquila.recording import scripts
    from aquila.recording.scope import Scope
else:
    lazy_modules(
        globals(),
        "aquila: errors",
        "aquila.intercept.connections: socket_guard",
        "aquila.intercept.http_clients: httpx_clients, other_clients",
        "aquila.intercept.web_sockets: clients as web_socket_clients",
        "aquila.recording: scripts",
    )

_HTTPX_FAMILY = ("httpx2", "httpx")  # a copy: importing `aquila.transports` would load that package in every run
_OTHER_CLIENTS = ("http.client", "urllib3", "httplib2", "aiohttp")  # those that `other_clients` patches
_WEB_SOCKETS = (  # those that `web_sockets.clients` patches
    "aiohttp.client",
    "httpx_ws._api",
    "websocket._app",
    "websocket._core",
    "websockets.asyncio.client",
    "websockets.legacy.client",
    "websockets.sync.client",
)

_SOCKETS = ("socket", "gevent._socket3")
_RESOLVERS = ("getaddrinfo", "gethostbyname", "gethostbyname_ex")  # functions of the modules of sockets
_METHODS = ("connect", "connect_ex", "sendto", "sendmsg")  # methods of their class `socket`
_RESOLVING_IN_LOOP = "getaddrinfo of an event loop"

_KEPT = ("pytest_recording.network", "pytest_socket")
_NATIVE = ("asyncio.windows_events", "curl_cffi.aio", "curl_cffi.curl", "grpc", "grpc.aio", "pycares", "pycurl")
_LOOPS = ("gevent._socketcommon", "gevent.socket", "gevent.ssl", "uvloop")
_COMPILED = ("baml_py", "httpr", "primp", "pyqwest", "rnet", "tensorzero", "tls_client.sessions", "wreq")
WITHOUT_SOCKETS = (*_NATIVE, *_LOOPS, *_COMPILED)
"""The modules of libraries that connect without Python's sockets."""
_CONNECTING = (*_KEPT, "socks", *WITHOUT_SOCKETS)
"""Further modules that ``socket_guard`` patches."""


class _Inherited:
    """The ``value`` of the variable for child processes before the first scope of a run, restored after the last."""

    value: str | None = None


class Interception:
    """Keeps patches, dummy keys and the variable for child processes in step with the open scopes."""

    _socket_guard: SocketGuard | None = None

    def __init__(self) -> None:
        self._import_hooks = ImportHooks()
        # A stack, the innermost run last. The first entry is for the process itself, which shows no dummies.
        self._dummy_keys = [dummy_keys.DummyKeys(dummy_keys.NO_DUMMIES)]
        libraries = {
            **dict.fromkeys(_HTTPX_FAMILY, self._patch_httpx),
            **dict.fromkeys(_OTHER_CLIENTS, self._patch_other_client),
            **dict.fromkeys(_WEB_SOCKETS, self._patch_web_sockets),
            "blockbuster.blockbuster": late_function("aquila.intercept.blocking_calls", "patch_detector"),
            "concurrent.futures.thread": late_function(
                "aquila.intercept.http_clients.httpx_clients", "patch_executors"
            ),
            "multiprocess.pool": late_function("aquila.intercept.processes.pool_workers", "patch_failures"),
            "multiprocessing.pool": late_function("aquila.intercept.processes.pool_workers", "patch_failures"),
            "multiprocessing.spawn": late_function("aquila.intercept.processes.fork_server", "patch_preparation"),
            "os": _patch_starts,
            "subprocess": _patch_starts,
            "threading": _patch_threads,
        }
        self._client_patches = PatchSet(self._import_hooks, libraries)
        self._stub_patches = PatchSet(self._import_hooks, {})
        connecting = {
            **dict.fromkeys(_SOCKETS, self._patch_sockets),
            "ssl": self._patch_handshakes,
            "asyncio.base_events": self._patch_event_loops,
            **dict.fromkeys(_CONNECTING, self._patch_connecting),
        }
        self._connection_patches = PatchSet(self._import_hooks, connecting)
        # Any thread may open or close a scope. One thread at a time changes the environment and the fields below.
        self._lock = renewed_in_child(threading.RLock())
        # The open scopes, by id, without the suspended ones.
        self._open: dict[str, Scope] = {}
        # The ids of the scopes for which clients are intercepted: the open ones and the suspended ones.
        self._intercepting: set[str] = set()
        self.kept_for: runtime.Run | None = None  # see `keep_environment`

    # Most runs import none of these libraries, so the modules that patch them are loaded when one is imported.

    def _patch_httpx(self, module: ModuleType) -> Iterable[Undoable]:
        return httpx_clients.HttpxClients(self._client_patches, self._intercepting).patch_library(module)

    def _patch_other_client(self, module: ModuleType) -> Iterable[Undoable]:
        return other_clients.OtherClients(self._client_patches, self._stub_patches).patch_library(module)

    def _patch_web_sockets(self, module: ModuleType) -> Iterable[Undoable]:
        return web_socket_clients.WebSocketClients(self._client_patches).patch_library(module)

    def _patch_connecting(self, module: ModuleType) -> Iterable[Undoable]:
        return self.socket_guard.patch_library(module)

    # `socket` is imported in every run. So are `ssl` and `asyncio` in Python 3.14, by `pdb`. Few tests connect, so the
    # first connection loads the guard.

    def _patch_sockets(self, module: ModuleType) -> Iterable[Undoable]:
        # `getaddrinfo` is where urllib3, httpcore, asyncio and the standard library resolve names.
        for name in _RESOLVERS:
            yield Patch(module, name, functools.partial(self._guard_late, name))
        # `socket.socket` inherits these methods from a class in C, which cannot be patched, so they are added to it.
        for name in _METHODS:
            if hasattr(module.socket, name):  # Windows has no `sendmsg`
                yield Patch(module.socket, name, functools.partial(self._guard_late, name))

    def _patch_handshakes(self, module: ModuleType) -> Iterable[Undoable]:
        for name in ("wrap_socket", "wrap_bio"):
            yield Patch(module.SSLContext, name, functools.partial(self._guard_late, name))

    def _patch_event_loops(self, module: ModuleType) -> Iterable[Undoable]:
        yield Patch(module.BaseEventLoop, "getaddrinfo", functools.partial(self._guard_late, _RESOLVING_IN_LOOP))

    def _guard_late(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        guarded: Callable[..., Any] | None = None  # it does no harm if two threads make it at the same time

        def load() -> Callable[..., Any]:
            nonlocal guarded
            if guarded is None:
                guarded = self.socket_guard.make_replacement(name)(original)
            return guarded

        @functools.wraps(original)
        def call(*args: Any, **named: Any) -> Any:
            return load()(*args, **named)

        @functools.wraps(original)
        async def call_in_loop(*args: Any, **named: Any) -> Any:
            return await load()(*args, **named)

        return call_in_loop if name == _RESOLVING_IN_LOOP else call

    @property
    def socket_guard(self) -> SocketGuard:
        """The guard of connections. Made at the first use."""
        if self._socket_guard is not None:
            return self._socket_guard
        # Two threads may make one at the same time. Both get the one that was stored first.
        made: SocketGuard = vars(self).setdefault("_socket_guard", socket_guard.SocketGuard(self._connection_patches))
        return made

    def scope_opened(self, scope: Scope) -> None:
        """Intercept for a scope that has opened, or apply the changed settings of an open one."""
        with self._lock:
            kept, self.kept_for = self.kept_for, None
            if kept is not scope.run and not self._scopes_of(scope.run):
                scope.run.state_of(_Inherited).value = os.environ.get(child_processes.VARIABLE)
            self._open[scope.id] = scope
            self._intercepting.add(scope.id)
            self._client_patches.put_in_force(scope.id)
            self._stub_patches.put_in_force(scope.id)
            self._adjust_environment(scope.run)
            scope.child_messages.open_scopes.note_open(scope.id)

    def scope_suspended(self, scope: Scope) -> None:
        """Take a suspended scope out of the environment. Its interception stays: code bound to it may send requests."""
        with self._lock:
            self._take_out(scope)

    def scope_ending(self, scope: Scope) -> None:
        """Answer nothing more over redirected sockets for a scope that is about to close."""
        if self._socket_guard is not None:
            self._socket_guard.end_scope(scope)

    def scope_closed(self, scope: Scope) -> None:
        """Stop intercepting for a scope that has closed."""
        with self._lock:
            scope.child_messages.open_scopes.note_closed(scope.id)
            self._take_out(scope)
            if scope.id in self._intercepting:
                self._intercepting.discard(scope.id)
                self._client_patches.withdraw(scope.id)
                self._stub_patches.withdraw(scope.id)

    def _take_out(self, scope: Scope) -> None:
        """Remove a scope from the open ones, and adjust the environment."""
        if self._open.pop(scope.id, None) is not None:
            try:
                self._adjust_environment(scope.run)
            except errors.ConfigError:
                return  # a setting of a surrounding scope is wrong; the next request in that scope raises the error

    def keep_environment(self, run: runtime.Run) -> None:
        """Leave the environment as it is when the last scope of a run closes, until the next one opens.

        Changing it twice takes a seventh of what Aquila adds to a replayed test. In between no fixture runs.
        """
        self.kept_for = run

    def restore_environment(self) -> None:
        """Undo ``keep_environment``, if no scope has opened since."""
        if self.kept_for is None:
            return
        with self._lock:
            run, self.kept_for = self.kept_for, None
            if run is not None:
                self._adjust_environment(run)

    def put_guard_in_force(self, holder: object) -> None:
        """Refuse what no scope answers until ``withdraw_guard`` is called with the same ``holder``."""
        with self._lock:
            self._client_patches.put_in_force(holder)
            self._connection_patches.put_in_force(holder)

    def renew_guard(self) -> None:
        """Apply again the patches of connections that other tools have undone."""
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
    def dummies_shown(self, dummies: Mapping[str, str]) -> Iterator[dummy_keys.DummyKeys]:
        """Show ``dummies`` until the block ends, unless a scope that opens within it needs others."""
        with self._lock:
            outer, keys = self._dummy_keys[-1], dummy_keys.DummyKeys(dummies, self._open)
            suspended = outer.suspend()
            self._dummy_keys.append(keys)
            self._adjust_keys()
        try:
            yield keys
        finally:
            with self._lock:
                self._dummy_keys.remove(keys)
                keys.show(dummy_keys.NO_DUMMIES)
                outer.resume(*suspended)

    def change_dummies(self, keys: dummy_keys.DummyKeys, dummies: Mapping[str, str]) -> None:
        """Replace the dummies that ``dummies_shown`` was given, also in variables that were set since then."""
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
        # By depth and not by the order of opening: a suspended scope opens again after the scopes within it.
        return sorted(self._open.values(), key=lambda scope: len(scope.around))

    def _adjust_environment(self, run: runtime.Run) -> None:
        """Bring the keys in step with all scopes, and the variable for child processes with those of ``run``."""
        scopes = self._scopes_of(run)
        if self.kept_for is run and not scopes:
            return
        self._adjust_keys()
        if scopes:
            set_own_variables({child_processes.VARIABLE: child_processes.describe_innermost(scopes)})
        else:
            put_variables_back({child_processes.VARIABLE: run.state_of(_Inherited).value})

    def describe_for_children(self) -> str | None:
        """Return the value of the variable for child processes, even if a test has cleared the environment.

        None outside a run of tests where no scope is open.
        """
        run = runtime.current_run()
        with self._lock:
            if scopes := self._scopes_of(run):
                return child_processes.describe_innermost(scopes)
        return child_processes.describe_run(None) if run.layers.under_pytest else None

    def _adjust_keys(self) -> None:
        """Show a dummy for each key that no open scope needs."""
        keys = self._dummy_keys[-1]
        scopes = [scope for scope in self._sort_open() if scope.id not in keys.outside] if self._open else []
        if not scopes:
            keys.show(keys.base)
            return
        answering = [scope for scope in scopes if scope.has_answers]
        answers = False
        for scope in answering or scopes:
            settings = scope.settings
            # The scope of a fixture that records is open even if it asks no model, so that says nothing.
            answers = answers or scope.kind != "fixture" or settings.transport != "record"
            by_hand = settings.transport == "record" and scripts.is_answered_by_hand(scope)
            if not by_hand and not dummy_keys.needs_no_key(settings):
                dummies = dummy_keys.NO_DUMMIES
                break
        else:
            dummies = (
                dummy_keys.dummies_shown(settings, answers=True)
                if answering and answers
                else dummy_keys.dummies_of_run(settings)
            )
        keys.show(dummies, anew=len(scopes) == 1)


def _patch_starts(module: ModuleType) -> Iterable[Undoable]:
    # `_execute_child` is private. `__init__` stays: its warnings find the line of the caller by counting frames.
    owner = module if module is os else module.Popen
    names = ("system", "posix_spawn", "posix_spawnp") if module is os else ("_execute_child",)
    yield from (Patch(owner, name, _prepare_for_child) for name in names if hasattr(owner, name))


def _prepare_for_child(start: Callable[..., Any]) -> Callable[..., Any]:
    prepared = functools.wraps(start)(
        late_function("aquila.intercept.processes.started_children", "prepare_and_start", start)
    )
    if start.__module__ in ("posix", "nt"):  # `pickle` must find it in `os`, as for `pool.map(os.system, commands)`
        prepared.__module__ = "os"
    return prepared


call_around_forks(
    late_function("aquila.intercept.processes.started_children", "prepare_for_children"),
    late_function("aquila.intercept.processes.started_children", "adjust_forked_child"),
)


def _patch_threads(module: ModuleType) -> Iterable[Undoable]:
    yield Patch(module.Thread, "start", _mark_threads)


def _mark_threads(start: Callable[[threading.Thread], None]) -> Callable[[threading.Thread], None]:
    # Loaded by the first thread that starts, because most runs start none. `threading` lives until the interpreter
    # ends, and would keep alive all that a function of this module can reach; a late function reaches nothing.
    return functools.wraps(start)(late_function("aquila.recording.askers", "mark_and_start", start))


def interception() -> Interception:
    """The interception of this process."""
    return runtime.process_run().state_of(Interception)


def watch_scopes() -> None:
    """Intercept for the scopes of the current run from now on, for as long as it lasts."""
    runtime.current_run().watch_scopes(interception())


class RunGuard:
    """Puts in force what a run of tests needs around them: dummy keys, refusals, the variable for child processes.

    It belongs to the current run, and may be put in force again after ``lift``.
    """

    def __init__(self) -> None:
        self._in_force = contextlib.ExitStack()
        self._keys: dummy_keys.DummyKeys | None = None
        self._holder: object | None = None

    def put_in_force(self) -> None:
        """Hide the machine's keys where no request needs them, and refuse what no scope answers, as the settings say.

        So a test module can make clients when it is imported, and each request of theirs is answered or refused.
        """
        self._in_force.enter_context(dummy_keys.remember_environment())
        self._keys = self._in_force.enter_context(interception().dummies_shown(_dummies_in_force()))
        self._in_force.enter_context(child_processes.tell_child_processes())
        self._in_force.callback(self._change_holder, None)
        self._change_holder(install_guard())

    def follow_settings(self, *, shows_keys: bool) -> None:
        """Apply changed settings and a changed environment. With ``shows_keys`` all keys are shown from now on."""
        dummy_keys.learn_environment()
        if self._keys is not None:
            dummies = dummy_keys.NO_DUMMIES if shows_keys else _dummies_in_force()
            interception().change_dummies(self._keys, dummies)
        self._change_holder(install_guard())
        child_processes.tell_settings()

    def lift(self) -> None:
        """Undo ``put_in_force``."""
        self._in_force.close()

    def _change_holder(self, holder: object | None) -> None:
        before, self._holder = self._holder, holder
        if before is not None:
            interception().withdraw_guard(before)


def _dummies_in_force() -> Mapping[str, str]:
    """The dummies of the current run. Without a guard there are none: requests without a cassette need real keys."""
    settings = runtime.current_run().layers.at_start()
    return dummy_keys.NO_DUMMIES if settings.guard == "off" else dummy_keys.dummies_of_run(settings)


def install_guard() -> object | None:
    """Refuse what no scope answers in this process from now on. Return the guard's holder, or None if it is off.

    With wrong settings the guard is on, and each request raises the error that says what is wrong.
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
