"""What a run of tests has in force around it from before the first conftest is imported: what every run loads of it.

In most runs nothing happens that has to be caught: no client is imported, nothing connects, no scope opens. So this
module does by itself only what must be there at once. It shows dummies for the machine's keys, puts a function into
``socket`` and ``threading`` for each that connects or starts a thread, waits for the import of clients, and tells child
processes. That is the ``FirstGuard``. The rest, ``activation.Interception``, is loaded when something first asks
``interception`` for it, and carries on what is in force here. A run that needs more from its beginning has it at once:
one that goes live or verifies, or that begins with a client loaded, as within another run.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from aquila.fork_locks import held_at_fork
from aquila.intercept.provider_keys import PROVIDER_KEYS
from aquila.lazy_imports import WaitingFinder, find_loaded, late_function, lazy_modules
from aquila.recording import runtime
from aquila.recording.environment import DUMMY_KEY, read_environment, set_own_variables

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import TypeAlias

    from aquila.cassettes.redaction import fingerprints
    from aquila.config import SettingsLayers
    from aquila.intercept import activation
    from aquila.intercept.activation import Interception
    from aquila.intercept.dummy_keys import DummyKeys

    Wire: TypeAlias = tuple[Any, str, Any, Any, Any]
else:
    lazy_modules(
        globals(),
        activation="aquila.intercept.activation",
        fingerprints="aquila.cassettes.redaction.fingerprints",
    )

HTTPX_FAMILY = ("httpx2", "httpx")
"""Those of ``aquila.transports``, whose package every run would load for these two names."""

OTHER_CLIENTS = ("http.client", "urllib3", "httplib2", "aiohttp")
"""The libraries that ``other_clients`` patches."""

WEB_SOCKETS = (
    "aiohttp.client",
    "httpx_ws._api",
    "websocket._app",
    "websocket._core",
    "websockets.asyncio.client",
    "websockets.legacy.client",
    "websockets.sync.client",
)
"""The libraries that ``web_sockets.clients`` patches."""

EXECUTORS = "concurrent.futures.thread"

CONNECTING = (
    "asyncio.base_events",
    "curl_cffi.aio",
    "curl_cffi.curl",
    "gevent._socketcommon",
    "gevent.socket",
    "gevent.ssl",
    "grpc",
    "grpc.aio",
    "pycares",
    "pycurl",
    "pytest_recording.network",
    "pytest_socket",
    "socks",
    "ssl",
    "uvloop",
)
"""What else ``socket_guard`` patches."""

GEVENT_SOCKETS = "gevent._socket3"

_WAITED_FOR = frozenset((*HTTPX_FAMILY, *OTHER_CLIENTS, *WEB_SOCKETS, *CONNECTING, EXECUTORS, GEVENT_SOCKETS))
"""All libraries that are patched, but for ``socket`` and ``threading``, which pytest itself loads."""

VARIABLE = "AQUILA_SESSION"
"""The variable that tells child processes of the run; see ``child_processes``."""

SITE_FOLDER = os.path.normpath(f"{__file__}/../../_site")
"""The folder with the ``sitecustomize`` for children."""

_SHORTEST_KEY = 8
"""Characters. A shorter one is no secret to ``trivial_values``, which need not be loaded to know that."""

LOCK = held_at_fork(threading.RLock())
"""Held for the moments in which the ``FirstGuard`` is put in force, and in which the interception takes its place."""


class FirstGuard:
    """What is in force before the interception of this process is made. The run around all others owns it."""

    def __init__(self) -> None:
        self.guarded: RunGuard | None = None
        """The run for which it is in force. A process has it for its first run of tests only."""
        self.wires: dict[str, list[Wire]] = {}
        """What was replaced in ``socket`` and ``threading``, by the name of the module; see ``make_wire``."""
        self.dummies: dict[str, str] = {}
        """By variable: what it shows."""
        self.replaced: dict[str, str | None] = {}
        """By variable: the value that its dummy has replaced, None if it was not set."""
        self._finder = WaitingFinder(_WAITED_FOR, late_function(__name__, "find_patched"))
        self.interception_made: Interception | None = None
        """The interception, and whether it is ready, which is when it carries on what was in force here."""
        self.is_ready = False

    def is_enough(self) -> bool:
        """Whether a run that begins now needs no more, by its settings and by what is loaded."""
        run = runtime.current_run()
        settings = run.layers.at_start()
        return (
            self.interception_made is None
            and settings.transport == "replay"
            and settings.guard != "off"
            and not settings.dummy_keys
            and run.play_log is None
            and sys.modules.keys().isdisjoint(_WAITED_FOR)  # looks up the few names, where the reverse is all modules
            and find_loaded("socket") is not None
        )

    def put_in_force(self, guarded: RunGuard) -> None:
        """Hide the keys, and catch what connects, starts a thread, imports a client, or opens a scope."""
        with LOCK:
            self.guarded, guarded.holder = guarded, self
            environment = runtime.machine_keys().environment
            self.dummies = {name: DUMMY_KEY for names in PROVIDER_KEYS.values() for name in names}
            self.replaced = {name: environment.get(name) for name in self.dummies if environment.get(name) != DUMMY_KEY}
            # Before the environment changes: at no moment may a key be in neither place, where no redactor finds it.
            runtime.machine_keys().hidden = {name: key for name, key in self.replaced.items() if key is not None}
            set_own_variables(self.dummies)
            for module, wires in (sys.modules["socket"], wire_sockets), (threading, wire_threads):
                self.wires[module.__name__] = list(wires(module))
            sys.meta_path.insert(0, self._finder)
        watch_scopes()

    def stop_waiting(self) -> None:
        """Wait for no more imports: the interception does, which has put a finder of its own before this one."""
        if self._finder in sys.meta_path:
            sys.meta_path.remove(self._finder)

    def hides_keys_in(self, environment: Mapping[str, str]) -> bool:
        """Whether its dummies are all in an environment."""
        return self.dummies.items() <= environment.items()


def make_wire(owner: Any, name: str, make: Callable[[Any], Any]) -> Wire:
    """Replace an attribute of a class or a module by what ``make`` returns for it, as ``patching.Patch`` does.

    The result is what that needs to undo it: the owner and the name, the owner's own value, or None where it inherits
    one, and what was there and is there now.
    """
    before = getattr(owner, name)
    own, replacement = vars(owner).get(name), make(before)
    setattr(owner, name, replacement)
    return owner, name, own, before, replacement


def wire_sockets(module: ModuleType) -> Iterator[Wire]:
    """Catch what resolves names and connects. The guard is loaded by the first connection."""
    # `getaddrinfo` is where urllib3, httpcore, asyncio and the standard library resolve names.
    for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex"):
        yield make_wire(module, name, functools.partial(_guard_late, name))
    # `socket.socket` inherits these methods from a class in C, which cannot be patched, so they are added to it.
    for name in ("connect", "connect_ex", "sendto", "sendmsg"):
        if hasattr(module.socket, name):  # Windows has no `sendmsg`
            yield make_wire(module.socket, name, functools.partial(_guard_late, name))


def _guard_late(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
    guarded: Callable[..., Any] | None = None  # of two threads that connect first, both make the same

    @functools.wraps(original)
    def call(*args: Any, **named: Any) -> Any:
        nonlocal guarded
        if guarded is None:
            guarded = interception().socket_guard.make_replacement(name)(original)
        return guarded(*args, **named)

    return call


def wire_threads(module: ModuleType) -> Iterator[Wire]:
    """Have each thread marked with the test that has started it."""

    # Loaded by the first thread that starts, because most runs start none. `threading` lives until the interpreter
    # ends, and would keep alive all that a function of this module can reach; a late function reaches nothing.
    def mark_threads(start: Callable[[threading.Thread], None]) -> Callable[[threading.Thread], None]:
        return functools.wraps(start)(late_function("aquila.recording.askers", "mark_and_start", start))

    yield make_wire(module.Thread, "start", mark_threads)


def find_patched(name: str) -> ModuleSpec | None:
    """Find the module of a client, which will be patched when it is loaded."""
    return interception().find_spec(name)


def interception() -> Interception:
    """The interception of this process, which is made when something first asks for it."""
    first = runtime.process_run().state_of(FirstGuard)
    if first.is_ready and first.interception_made is not None:
        return first.interception_made
    return activation.make_interception(first)


class _ScopeWatcher:
    """Tells the interception of scopes, of which most runs have none."""

    def __getattr__(self, name: str) -> Any:
        return getattr(interception(), name)


_scope_watcher: Any = _ScopeWatcher()


def watch_scopes() -> None:
    """Intercept for the scopes of the current run from now on, for as long as it lasts."""
    runtime.current_run().watch_scopes(_scope_watcher)


def renew_guard() -> None:
    """Guard again what other tools have put back as it was without the guard. Each test begins with this."""
    first = runtime.process_run().state_of(FirstGuard)
    if first.is_ready:
        interception().renew_guard()
        return
    for owner, name, _, before, replacement in first.wires.get("socket", ()):
        if getattr(owner, name) is before:
            setattr(owner, name, replacement)


class RunGuard:
    """What a run of tests puts in force around them: dummy keys, refusals, and what child processes are told.

    It belongs to the current run, and may be put in force again when it has been lifted.
    """

    def __init__(self) -> None:
        self._in_force = contextlib.ExitStack()
        self.keys: DummyKeys | None = None
        """The dummies that it shows. None as long as the ``FirstGuard`` shows them."""
        self.holder: object | None = None
        """What holds the guard of connections in force, or None where that is off."""

    def put_in_force(self) -> None:
        """Hide the machine's keys wherever nothing needs them, and refuse what no scope answers, as the settings say.

        So what a test module makes when it is imported can be made, and whatever it asks is answered or refused.
        """
        self._in_force.enter_context(remember_environment())
        first = runtime.process_run().state_of(FirstGuard)
        is_first = first.guarded is None and first.is_enough()
        if is_first:
            first.put_in_force(self)
            self._in_force.callback(lambda: activation.show_keys(self))
        else:
            self.keys = self._in_force.enter_context(interception().dummies_shown(activation.dummies_in_force()))
        self._in_force.enter_context(tell_child_processes())
        self._in_force.callback(lambda: activation.withdraw_guard(self))
        if not is_first:
            activation.refuse(self)

    def follow_settings(self, *, shows_keys: bool) -> None:
        """Take in what was changed since: the settings, and the environment. ``shows_keys``: hide no keys after all."""
        environment = learn_environment()
        first = runtime.process_run().state_of(FirstGuard)
        if first.guarded is not self or shows_keys or not first.is_enough() or not first.hides_keys_in(environment):
            activation.follow_settings(self, shows_keys=shows_keys)
        tell_settings()

    def lift(self) -> None:
        """Undo ``put_in_force``."""
        self._in_force.close()


@contextlib.contextmanager
def remember_environment() -> Iterator[None]:
    """Know until the block ends what is the machine's own: what is set now, before any test has set something.

    What is set meanwhile is noted.
    """
    keys = runtime.machine_keys()
    outer = keys.environment
    learn_environment()
    try:
        with runtime.set_variables().noting():
            yield
    finally:
        keys.environment = outer


def learn_environment() -> Mapping[str, str]:
    """Take what is set now for the machine's own, and return what is set."""
    keys = runtime.machine_keys()
    environment = read_environment()
    # A run within a test that replays sees the dummies. What that test has set for itself is the machine's, here.
    hidden = {name: value for name, value in keys.hidden.items() if DUMMY_KEY in environment.get(name, "")}
    keys.environment = environment | hidden
    return environment


@contextlib.contextmanager
def tell_child_processes() -> Iterator[None]:
    """Let child processes know of this run until the block ends."""
    before = {name: os.environ.get(name) for name in (VARIABLE, "PYTHONPATH")}
    path = before["PYTHONPATH"]
    if path is None or SITE_FOLDER not in path.split(os.pathsep):
        os.environ["PYTHONPATH"] = SITE_FOLDER if not path else os.pathsep.join((SITE_FOLDER, path))
    os.environ[VARIABLE] = describe_run()
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def tell_if_forgotten() -> None:
    """Let child processes know of this run where something has taken the variable away: a test that cleared it."""
    if VARIABLE not in os.environ:
        tell_settings()


def tell_settings() -> None:
    """Let child processes know of settings that have changed since ``tell_child_processes``, while no scope is open."""
    os.environ[VARIABLE] = describe_run()


def describe_run() -> str:
    """The value of the variable for child processes while there is no scope that they could join."""
    run, keys = runtime.current_run(), runtime.machine_keys()
    return _describe_layers(
        run.layers,
        str(run.layers.root.absolute()),
        tuple(keys.fingerprints),
        tuple(keys.hidden.values()),
        runtime.run_key().key,
    )


# The keys in the cache's arguments are in memory anyway (see `MachineKeys`). Few entries, so that old keys leave it.
@functools.lru_cache(maxsize=4)
def _describe_layers(
    layers: SettingsLayers, root: str, known: tuple[str, ...], hidden: tuple[str, ...], key: str
) -> str:
    """Describe all but the scope. Every test asks, and nearly always the answer is that of the test before.

    ``known`` are the fingerprints of keys that were hidden in the parent, and ``hidden`` the keys that are hidden here.
    They are in memory already. ``key`` is that of ``runtime.RunKey``.
    """
    inherited: dict[str, Any] = {"around": layers.as_plain_data(), "key": key}
    keys = [key for key in hidden if len(key) >= _SHORTEST_KEY]
    found = [*known, *(fingerprints.fingerprints_of(keys) if keys else ())]
    if found:
        inherited["fingerprints"] = found
    return json.dumps(inherited, default=str)
