"""What is in force while a scope is open: interception, dummy keys, and the variable for child processes.

``Interception`` holds all of it. A process has one, because it has one environment and one of each patched class; the
outermost run owns it. Code that opens scopes around other people's code calls ``watch_scopes`` first. ``RunGuard``
refuses what no scope answers.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from aquila.fork_locks import call_around_forks, renewed_in_child
from aquila.intercept import child_processes, dummy_keys
from aquila.intercept.dummy_keys import DummyKeys
from aquila.intercept.patching import ImportHooks, Patch, PatchSet, Undoable
from aquila.lazy_imports import late_function, lazy_modules
from aquila.recording import runtime
from aquila.recording.environment import set_own_variables, unset_own_variables

if TYPE_CHECKING:
    from types import ModuleType

    from aquila import errors
    from aquila.intercept import httpx_clients, other_clients, socket_guard
    from aquila.intercept.socket_guard import SocketGuard
    from aquila.intercept.web_sockets import clients as web_socket_clients
    from aquila.recording import scripts
    from aquila.recording.scope import Scope
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


_HTTPX_FAMILY = ("httpx2", "httpx")
"""Those of ``aquila.transports``, whose package every run would load for these two names."""

_OTHER_CLIENTS = ("http.client", "urllib3", "httplib2", "aiohttp")  # those that `other_clients` patches

_WEB_SOCKETS = (
    "aiohttp.client",
    "httpx_ws._api",
    "websocket._app",
    "websocket._core",
    "websockets.asyncio.client",
    "websockets.legacy.client",
    "websockets.sync.client",
)
"""The libraries that ``web_sockets.clients`` patches."""

_SOCKETS = ("socket", "gevent._socket3")
"""The modules of sockets. The functions and methods of these that are patched:"""
_RESOLVERS = ("getaddrinfo", "gethostbyname", "gethostbyname_ex")
_METHODS = ("connect", "connect_ex", "sendto", "sendmsg")
_RESOLVING_IN_LOOP = "getaddrinfo of an event loop"

_KEPT = ("pytest_recording.network", "pytest_socket")
_NATIVE = ("asyncio.windows_events", "curl_cffi.aio", "curl_cffi.curl", "grpc", "grpc.aio", "pycares", "pycurl")
_LOOPS = ("gevent._socketcommon", "gevent.socket", "gevent.ssl", "socks", "uvloop")
_COMPILED = ("baml_py", "httpr", "primp", "rnet", "tensorzero", "tls_client.sessions", "wreq")
_CONNECTING = (*_KEPT, *_NATIVE, *_LOOPS, *_COMPILED)
"""What else ``socket_guard`` patches."""


class _Inherited:
    """What a run has inherited: the ``value`` of the variable for child processes before its first scope opened.

    It is put back after its last scope.
    """

    value: str | None = None


class Interception:
    """Keeps what is around the code under test in step with the scopes that are open."""

    _socket_guard: SocketGuard | None = None

    def __init__(self) -> None:
        self._import_hooks = ImportHooks()
        # A stack, the innermost run last. The first entry is for the process itself, which shows no dummies.
        self._dummy_keys = [DummyKeys(dummy_keys.NO_DUMMIES)]
        libraries = {
            **dict.fromkeys(_HTTPX_FAMILY, self._patch_httpx),
            **dict.fromkeys(_OTHER_CLIENTS, self._patch_other_client),
            **dict.fromkeys(_WEB_SOCKETS, self._patch_web_sockets),
            "blockbuster.blockbuster": late_function("aquila.intercept.blocking_calls", "patch_detector"),
            "concurrent.futures.thread": late_function("aquila.intercept.httpx_clients", "patch_executors"),
            "multiprocessing.spawn": late_function("aquila.intercept.fork_server", "patch_preparation"),
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
        # Any thread may open or close a scope. The lock lets one thread at a time change the environment and the fields
        # below.
        self._lock = renewed_in_child(threading.RLock())
        # The scopes that surround other code now, by id.
        self._open: dict[str, Scope] = {}
        # The ids of those for which clients are intercepted: the open ones, and those that are suspended.
        self._intercepting: set[str] = set()

    # Most runs import none of these libraries, so the modules that patch them are loaded when one is imported.

    def _patch_httpx(self, module: ModuleType) -> Iterable[Undoable]:
        return httpx_clients.HttpxClients(self._client_patches, self._intercepting).patch_library(module)

    def _patch_other_client(self, module: ModuleType) -> Iterable[Undoable]:
        return other_clients.OtherClients(self._client_patches, self._stub_patches).patch_library(module)

    def _patch_web_sockets(self, module: ModuleType) -> Iterable[Undoable]:
        return web_socket_clients.WebSocketClients(self._client_patches).patch_library(module)

    def _patch_connecting(self, module: ModuleType) -> Iterable[Undoable]:
        return self.socket_guard.patch_library(module)

    # `socket` is imported in every run, and by the `pdb` of Python 3.14 so are `ssl` and `asyncio`. Few empty tests
    # connect, so the guard of these is loaded by the first connection.

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
        guarded: Callable[..., Any] | None = None  # of two threads that connect first, both make the same

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
        """The guard of connections. Made when something first needs it."""
        if self._socket_guard is not None:
            return self._socket_guard
        # Of two threads that need it first at the same time, both get the one that was stored first.
        made: SocketGuard = vars(self).setdefault("_socket_guard", socket_guard.SocketGuard(self._connection_patches))
        return made

    def scope_opened(self, scope: Scope) -> None:
        """A scope is open, or has changed."""
        with self._lock:
            if not self._open or not self._scopes_of(scope.run):
                scope.run.state_of(_Inherited).value = os.environ.get(child_processes.VARIABLE)
            self._open[scope.id] = scope
            self._intercepting.add(scope.id)
            self._client_patches.put_in_force(scope.id)
            self._stub_patches.put_in_force(scope.id)
            self._adjust_environment(scope.run)
            scope.child_misses.note_open(scope.id)

    def scope_suspended(self, scope: Scope) -> None:
        """A scope surrounds nothing for a while. Its interception stays: what is bound to it may make requests."""
        with self._lock:
            self._take_out(scope)

    def scope_ending(self, scope: Scope) -> None:
        """A scope is about to close."""
        if self._socket_guard is not None:
            self._socket_guard.end_scope(scope)

    def scope_closed(self, scope: Scope) -> None:
        """A scope is no longer open."""
        with self._lock:
            scope.child_misses.note_closed(scope.id)
            self._take_out(scope)
            if scope.id in self._intercepting:
                self._intercepting.discard(scope.id)
                self._client_patches.withdraw(scope.id)
                self._stub_patches.withdraw(scope.id)

    def _take_out(self, scope: Scope) -> None:
        """Let a scope surround nothing from now on."""
        if self._open.pop(scope.id, None) is not None:
            try:
                self._adjust_environment(scope.run)
            except errors.ConfigError:
                return  # a setting of those around it is wrong by now, which whatever is asked in them will say

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
        if self._open and (scopes := self._scopes_of(run)):
            set_own_variables({child_processes.VARIABLE: _describe_innermost(scopes)})
        elif (inherited := run.state_of(_Inherited).value) is None:
            unset_own_variables((child_processes.VARIABLE,))
        else:
            set_own_variables({child_processes.VARIABLE: inherited})

    def describe_for_children(self) -> str | None:
        """What child processes are to know of the run in force, also where a test has cleared the environment."""
        run = runtime.current_run()
        with self._lock:
            if scopes := self._scopes_of(run):
                return _describe_innermost(scopes)
        return child_processes.describe_run(None) if run.layers.under_pytest else None

    def _adjust_keys(self) -> None:
        """Show a dummy for each key that nothing needs now."""
        keys = self._dummy_keys[-1]
        scopes = [scope for scope in self._sort_open() if scope.id not in keys.outside] if self._open else []
        if not scopes:
            keys.show(keys.base)
            return
        answering = [scope for scope in scopes if scope.default_cassette is not None or scope.has_script]
        for scope in answering or scopes:
            settings = scope.settings
            by_hand = settings.transport == "record" and scripts.is_answered_by_hand(scope)
            if not by_hand and not dummy_keys.needs_no_key(settings):
                dummies = dummy_keys.NO_DUMMIES
                break
        else:
            dummies = (
                dummy_keys.dummies_shown(settings, answers=True) if answering else dummy_keys.dummies_of_run(settings)
            )
        keys.show(dummies, anew=len(scopes) == 1)


def _describe_innermost(scopes: list[Scope]) -> str:
    """What child processes are told where these scopes are open, outermost first: the innermost, if there is one."""
    return child_processes.describe_run(scopes[-1] if len(scopes) == 1 or _are_nested(scopes) else None)


def _patch_starts(module: ModuleType) -> Iterable[Undoable]:
    # Private, and not `__init__`: warnings of that name the line that called it, by counting frames.
    owner = module if module is os else module.Popen
    names = ("system", "posix_spawn", "posix_spawnp") if module is os else ("_execute_child",)
    yield from (Patch(owner, name, _prepare_for_child) for name in names if hasattr(owner, name))


def _prepare_for_child(start: Callable[..., Any]) -> Callable[..., Any]:
    prepared = functools.wraps(start)(late_function("aquila.intercept.started_children", "prepare_and_start", start))
    if start.__module__ in ("posix", "nt"):  # where it can be pickled from, such as for `pool.map(os.system, commands)`
        prepared.__module__ = "os"
    return prepared


call_around_forks(
    late_function("aquila.intercept.started_children", "prepare_for_children"),
    late_function("aquila.intercept.started_children", "go_on"),
)


def _patch_threads(module: ModuleType) -> Iterable[Undoable]:
    yield Patch(module.Thread, "start", _mark_threads)


def _mark_threads(start: Callable[[threading.Thread], None]) -> Callable[[threading.Thread], None]:
    # Loaded by the first thread that starts, because most runs start none. `threading` lives until the interpreter
    # ends, and would keep alive all that a function of this module can reach; a late function reaches nothing.
    return functools.wraps(start)(late_function("aquila.recording.askers", "mark_and_start", start))


def _are_nested(scopes: list[Scope]) -> bool:
    """Say whether each scope surrounds the next. Of two scopes side by side, a child process could not choose one."""
    return all(inner.parent is outer for outer, inner in itertools.pairwise(scopes))


def interception() -> Interception:
    """The interception of this process."""
    return runtime.process_run().state_of(Interception)


def watch_scopes() -> None:
    """Intercept for the scopes of the current run from now on, for as long as it lasts."""
    runtime.current_run().watch_scopes(interception())


class RunGuard:
    """What a run of tests puts in force around them: dummy keys, refusals, and what child processes are told.

    It belongs to the current run, and may be put in force again when it has been lifted.
    """

    def __init__(self) -> None:
        self._in_force = contextlib.ExitStack()
        self._keys: DummyKeys | None = None
        self._holder: object | None = None

    def put_in_force(self) -> None:
        """Hide the machine's keys wherever nothing needs them, and refuse what no scope answers, as the settings say.

        So what a test module makes when it is imported can be made, and whatever it asks is answered or refused.
        """
        self._in_force.enter_context(dummy_keys.remember_environment())
        self._keys = self._in_force.enter_context(interception().dummies_shown(_dummies_in_force()))
        self._in_force.enter_context(child_processes.tell_child_processes())
        self._in_force.callback(self._withdraw)
        self._refuse()

    def follow_settings(self, *, shows_keys: bool) -> None:
        """Take in what was changed since: the settings, and the environment. ``shows_keys``: hide no keys after all."""
        dummy_keys.learn_environment()
        if self._keys is not None:
            dummies = dummy_keys.NO_DUMMIES if shows_keys else _dummies_in_force()
            interception().change_dummies(self._keys, dummies)
        self._refuse()
        child_processes.tell_settings()

    def lift(self) -> None:
        """Undo ``put_in_force``."""
        self._in_force.close()

    def _refuse(self) -> None:
        before, self._holder = self._holder, install_guard()
        if before is not None:
            interception().withdraw_guard(before)

    def _withdraw(self) -> None:
        before, self._holder = self._holder, None
        if before is not None:
            interception().withdraw_guard(before)


def _dummies_in_force() -> Mapping[str, str]:
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
