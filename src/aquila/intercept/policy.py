"""Decides about a request that Aquila did not send: it is answered by a scope, let through, or refused.

All code that sees such requests asks here: the intercepted transports, vcrpy's stubs, the guard of connections.
"""

from __future__ import annotations

import sys
from functools import cache, lru_cache
from typing import TYPE_CHECKING

from aquila.intercept import side_requests
from aquila.lazy_imports import lazy_modules
from aquila.quick_records import NamedTuple
from aquila.recording import runtime
from aquila.recording.network.host_names import is_loopback
from aquila.recording.network.model_hosts import asks_model, is_listed, is_listed_provider, is_model_path, is_provider
from aquila.settings import Settings
from aquila.transports.own_requests import is_own_request

if TYPE_CHECKING:
    from aquila import typed_settings
    from aquila.intercept import unknown_modules
    from aquila.recording import scope as scopes
    from aquila.recording.network import guard, no_network
    from aquila.recording.scope import Scope
else:
    lazy_modules(
        globals(),
        guard="aquila.recording.network.guard",
        no_network="aquila.recording.network.no_network",
        scopes="aquila.recording.scope",
        typed_settings="aquila.typed_settings",
        unknown_modules="aquila.intercept.unknown_modules",
    )


class OwnServers:
    """Addresses of servers of this process that use cassettes themselves: requests to them are let through.

    A server adds its address when it starts and removes it when it stops. Adding and removing are atomic.
    """

    def __init__(self) -> None:
        self.addresses: set[tuple[str, int | None]] = set()


@cache
def own_servers() -> set[tuple[str, int | None]]:
    """The addresses of ``OwnServers``. A port belongs to the process, and so does the list."""
    return runtime.process_run().state_of(OwnServers).addresses


class AnsweringScope(NamedTuple):
    """The scope that answers a request, and its settings at that moment. They are resolved once for each request."""

    scope: Scope
    settings: Settings


def find_answering_scope(method: str, scheme: str, host: str, port: int | None, path: str) -> AnsweringScope | None:
    """The scope that answers a request, or None for a request that is let through.

    ``path`` may have a query. Raises ``NoNetwork`` for a side request, ``LiveCallRefused`` where nothing asked for
    it, ``SessionClosed`` in what has outlived its scope, and ``CassetteRequired`` where several scopes could answer.
    """
    if is_own_request():
        return None
    scope, problem = scopes.look_for_scope()
    settings = scope.settings if scope is not None else runtime.current_settings()
    listed = settings.side_requests, settings.ignore_hosts, settings.loopback
    if scope is None or (host, port) in own_servers() or not _is_plain(method, host, port, path, *listed):
        if fails_as_side_request(method, host, port, path, settings, answers=scope is not None or problem is not None):
            raise no_network.NoNetwork
        if is_let_through(host, port, path, settings):
            if scope is not None and _is_recorded_of_loopback(scope, settings, scheme, host, port, path):
                return AnsweringScope(scope, settings)
            return None
        if side_requests.is_download(method, host, path, settings.side_requests) and not guard.refuses_all(settings):
            return None
    if problem is not None:
        raise problem
    if scope is not None:
        has_cassette = scope.default_cassette is not None and not scope.models_only
        if (has_cassette and settings.transport != "live") or _answers_model(scope, settings, host, port, path):
            return AnsweringScope(scope, settings)
    if settings.transport == "live":
        return None
    guard.check_unanswered(method, scheme, host, port, path, scope, settings)
    return None


@lru_cache(maxsize=512)  # pure: the settings that decide are among the arguments
def _is_plain(
    method: str,
    host: str,
    port: int | None,
    path: str,
    side_rows: tuple[str, ...],
    ignored_hosts: tuple[str, ...],
    loopback: str,
) -> bool:
    """Whether no table and no setting keeps a request from a cassette, as is so for nearly all requests.

    ``find_answering_scope`` examines the others. The result is remembered: a test asks few addresses, again and again.
    """
    stays_here = is_loopback(host) and not (loopback == "all" or (loopback == "models" and is_model_path(path)))
    return not (
        stays_here
        or is_listed(host, port, ignored_hosts)
        or side_requests.is_side_request(method, host, port, path, side_rows)
        or side_requests.is_download(method, host, path, side_rows)
    )


def _answers_model(scope: Scope, settings: Settings, host: str, port: int | None, path: str) -> bool:
    """Whether a scope takes a request because it is for a model: to answer it, or to note it for a report of the run.

    A cassette answers it, a script, or what stands in for a provider.
    """
    if not asks_model(host, port, path, settings):
        return False
    if settings.transport in ("replay", "record"):
        return scope.default_cassette is not None or scope.has_script
    if settings.transport != "live":
        return True  # another source than the provider, such as a local model, stands in for model requests alone
    # A report of the run shows each answer. What a script does not answer goes to the provider.
    return scope.run.exchange_watch is not None or scope.has_script or scope.names_script(scope.default_cassette)


def check_side_request(method: str, host: str, port: int | None, path: str) -> None:
    """Raise ``NoNetwork`` for a side request where no scope is open."""
    if not is_own_request() and fails_as_side_request(
        method, host, port, path, runtime.current_settings(), answers=False
    ):
        raise no_network.NoNetwork


def fails_as_side_request(
    method: str, host: str, port: int | None, path: str, settings: Settings, *, answers: bool
) -> bool:
    """Whether a request is a side request, where that matters: in a test run, and where a scope ``answers``."""
    if settings.transport == "live" or is_listed(host, port, settings.ignore_hosts):
        return False
    if not answers and (settings.guard == "off" or is_loopback(host) or not runtime.is_under_pytest()):
        return False
    return side_requests.is_side_request(method, host, port, path, settings.side_requests)


def check_connection(
    host: str,
    port: int | None,
    *,
    path: str = "",
    resolved_from: str | None = None,
    within_loop: bool = False,
    quietly: bool = False,
    library: str = "",
) -> None:
    """Raise ``LiveCallRefused`` for a connection that nothing asked for, ``NoNetwork`` for one to telemetry.

    Mostly the address alone is known here; ``path`` is what is asked there, where a client tells. ``resolved_from`` is
    the name that was last resolved to the address. ``within_loop`` says that an event loop asks. Then a refusal is an
    ordinary exception: clients connect in tasks of their own there, and some wait for ever for one that ends in an
    outcome. ``quietly`` makes it ``NoNetwork``: nothing is asked of the host, and whoever wants its address can do
    without. ``library`` is the package that connects, where it does so outside of Python and no frame shows it.
    """
    if is_own_request() or (host, port) in own_servers():
        return
    settings = runtime.current_settings()
    if is_loopback(host) and not settings.providers:
        return
    scope, _ = scopes.look_for_scope()
    if scope is not None:
        settings = scope.settings
    if is_listed(host, port, settings.ignore_hosts):
        return
    if not is_listed_provider(host, port, settings):  # what is listed stays what it is under whatever name
        if is_loopback(host):
            return
        if resolved_from is not None:
            host = resolved_from
            if is_listed(host, port, settings.ignore_hosts):
                return
    if guard.is_on(settings) and side_requests.is_side_host(host, settings.side_requests):
        raise no_network.NoNetwork
    if guard.is_refused(host, port, path, settings, scope):
        if quietly:
            raise no_network.NoNetwork
        what = f"a connection to {guard.format_address(host, port)}"
        guard.fail_if_unasked(what, is_for_model=asks_model(host, port, path, settings))
        has_cassette = scope is not None and scope.default_cassette is not None
        if has_cassette or library:  # what connects outside of Python is answered by no cassette
            message = _unrecordable_message(what, _name_client(library), speaks_http2=library == "grpc")
        else:
            message = guard.refusal_message(what, scope)
        raise guard.make_refusal(message, ordinary=within_loop)


def guards_connections() -> bool:
    """Whether the guard of a test run may refuse a connection that is made here."""
    if is_own_request():
        return False
    scope, _ = scopes.look_for_scope()
    settings = scope.settings if scope is not None else runtime.current_settings()
    return guard.is_on(settings)


def note_unseen(what: str) -> None:
    """Have the summary of the run say that ``what`` may reach providers, if the guard should keep it from them."""
    if guards_connections() and runtime.current_settings().guard != "sealed":
        unknown_modules.note_unguarded(
            f"{what} was started, and Aquila does not see whom it asks, so what it sends is neither recorded nor "
            "refused: give its models the base URL of `aquila serve`, or seal the run (aquila_guard = sealed)"
        )


def find_scope_for_own_socket(host: str, port: int | None) -> Scope | None:
    """The scope that answers what is asked of a provider over a socket of the client's own, or None for the guard."""
    if is_own_request() or (host, port) in own_servers():
        return None
    if is_loopback(host) and not runtime.current_settings().providers:
        return None  # before a scope is looked for: it would open that of a test which needs none
    scope, _ = scopes.look_for_scope()
    if scope is None or scope.lets_through(host):
        return None
    settings = scope.settings
    if settings.transport == "live" or is_listed(host, port, settings.ignore_hosts):
        return None
    answers = scope.default_cassette is not None or scope.has_script or settings.transport not in ("replay", "record")
    return scope if answers and is_provider(host, port, settings) else None


def refuse_own_socket(host: str, port: int, why: str, *, speaks_http2: bool) -> BaseException:
    """Return the refusal, noted for the test, of what a client sent over its own socket that is no HTTP request."""
    what = f"a connection to {guard.format_address(host, port)}"
    client = f"a client on sockets of its own: {why}"
    return guard.make_refusal(_unrecordable_message(what, client, speaks_http2=speaks_http2))


_NOT_CLIENTS = frozenset({"aquila", "pytest_aquila", "pytest", "_pytest", "pluggy", "__main__"})


def _name_client(library: str) -> str:
    """The package that connects here, by the functions that are running; and the one that uses it, if there is one.

    ``library`` is the first of them, where it is known.
    """
    packages = [library] if library else []
    frame = sys._getframe(1)  # private; `inspect.stack` would read the source file of every frame
    while frame is not None and len(packages) < 2:
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if package not in sys.stdlib_module_names and package not in _NOT_CLIENTS and package not in packages:
            packages.append(package)
        frame = frame.f_back  # type: ignore[assignment]
    return ", used by ".join(packages) or "a client"


def asks_model_here(host: str, port: int | None, path: str) -> bool:
    """Whether a request is for a model on this machine.

    The scope that answers it may have to be opened first, as that of a fixture. Elsewhere a client's socket does that,
    when it is redirected; those that stay on this machine are not.
    """
    return is_loopback(host) and asks_model(host, port, path, runtime.current_settings())


def is_let_through(host: str, port: int | None, path: str, settings: Settings) -> bool:
    """Whether the settings leave a request alone: its host is ignored, or it stays on this machine."""
    if (host, port) in own_servers() or is_listed(host, port, settings.ignore_hosts):
        return True
    if settings.loopback == "all" or not is_loopback(host) or is_listed_provider(host, port, settings):
        return False
    return settings.loopback == "none" or not is_model_path(path)


def _is_recorded_of_loopback(
    scope: Scope, settings: Settings, scheme: str, host: str, port: int | None, path: str
) -> bool:
    """Whether the cassette of a scope holds the URL of a request that would be let through for staying here.

    Settings about loopback, or about the host, come first.
    """
    if settings.loopback != "models" or settings.transport not in ("replay", "record") or scope.models_only:
        return False
    if scope.default_cassette is None or not is_loopback(host):
        return False
    if (host, port) in own_servers() or is_listed(host, port, settings.ignore_hosts):
        return False
    return scope.sessions.holds_address(scope.default_cassette, f"{scheme}://{guard.format_address(host, port)}{path}")


def explain_refused_connection(error: OSError, host: str | None, port: object) -> None:
    """Add to an error that in a sealed run the servers of the machine are out of reach, if that may be why."""
    if host is not None and isinstance(port, int) and is_loopback(host):
        settings = runtime.current_settings()
        if settings.guard == "sealed" and port not in settings.sealed_ports:
            error.add_note(explain_closed_port(port))


def explain_closed_port(port: int) -> str:
    """What to say where a sealed run finds a port of the machine closed."""
    setting = typed_settings.setting_line("sealed_ports", port, runtime.current_run().layers.settings_file)
    return (
        f"Nothing listens on port {port} within this sealed run (aquila_guard = sealed). If a server of the machine "
        f"does outside of it, hand its port through: {setting}"
    )


_OF_OTHERS = """\
It connects in a way of its own: not through httpx2, httpx, aiohttp, requests, urllib3, botocore, httplib2,
urllib.request or http.client, nor with HTTP/1.1 over Python's sockets; nor, if it wants a WebSocket,
through websockets, aiohttp, websocket-client or httpx-ws. To record it, give the test the fixture
aquila_server, or start `aquila serve --cassette NAME`, and give the client the server's address as its base URL.
"""
_OF_HTTP2 = """\
It speaks gRPC, or HTTP/2 over sockets of its own, which neither a cassette nor `aquila serve` holds.
Let it ask by HTTP/1.1 where it can: transport="rest" in clients of Google, prefer_grpc=False in that of
Qdrant, else the provider's HTTP API by another client. Or put something of your own in its place in this test.
"""


def _unrecordable_message(what: str, client: str, *, speaks_http2: bool) -> str:
    """The text for a connection that is refused although a cassette is in use, which its client never asked."""
    test = runtime.current_run().test_name or "none is running"
    return (
        f"{what} was refused: no cassette can answer its client ({client})\n"
        "\n"
        f"  test       {test}\n"
        "\n"
        f"{_OF_HTTP2 if speaks_http2 else _OF_OTHERS}"
        "To let it go, mark the test @pytest.mark.aquila_live, or name the host in the ini key aquila_ignore_hosts."
    )
