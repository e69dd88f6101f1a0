"""Decides about a request that Aquila did not send: it is answered by a scope, let through, or refused.

All code that sees such requests asks here: the intercepted transports, vcrpy's stubs, the guard of connections.
"""

from __future__ import annotations

import os
import sys
from functools import cache, lru_cache
from typing import TYPE_CHECKING

from aquila.intercept.http_clients import side_requests
from aquila.lazy_imports import lazy_modules
from aquila.quick_records import NamedTuple
from aquila.recording import runtime
from aquila.recording.network.host_names import DEFAULT_PORTS, is_loopback
from aquila.recording.network.model_hosts import (
    asks_model,
    is_listed,
    is_listed_provider,
    is_model_path,
    is_provider,
    may_be_listed,
)
from aquila.settings import Settings
from aquila.transports.own_requests import is_own_request

if TYPE_CHECKING:
    from aquila import optional, setting_lines
    from aquila.intercept import unknown_modules
    from aquila.recording import scope as scopes
    from aquila.recording.network import guard, no_network
    from aquila.recording.scope import Scope
else:
    lazy_modules(
        globals(),
        "aquila: optional, setting_lines",
        "aquila.intercept: unknown_modules",
        "aquila.recording: scope as scopes",
        "aquila.recording.network: guard, no_network",
    )


class OwnServers:
    """Addresses of servers of this process that use cassettes themselves: requests to them are let through.

    A server adds its address when it starts and removes it when it stops. Adding and removing are atomic.
    """

    def __init__(self) -> None:
        self.addresses: set[tuple[str, int | None]] = set()


@cache
def own_servers() -> set[tuple[str, int | None]]:
    """The addresses of ``OwnServers`` of this process."""
    return runtime.process_run().state_of(OwnServers).addresses


class AnsweringScope(NamedTuple):
    """The scope that answers a request, and its settings, which are resolved once for each request."""

    scope: Scope
    settings: Settings


def find_answering_scope(method: str, scheme: str, host: str, port: int | None, path: str) -> AnsweringScope | None:
    """Return the scope that answers a request, or None for a request that is let through.

    ``port`` may be None for the default port of ``scheme``, and ``path`` may have a query. Raises ``NoNetwork`` for a
    side request, ``LiveCallRefused`` if nothing asked for it, ``SessionClosed`` in code that has outlived its scope,
    and ``CassetteRequired`` if several scopes could answer.
    """
    if is_own_request():
        return None
    port = DEFAULT_PORTS.get(scheme) if port is None else port
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
    """Whether no table and no setting exempts a request from the cassette. That holds for nearly all requests.

    ``find_answering_scope`` examines the others. The result is cached: a test sends many requests to few addresses.
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

    A cassette, a script, or another source in the place of the provider answers it.
    """
    if not asks_model(host, port, path, settings):
        return False
    if settings.transport in ("replay", "record"):
        return scope.has_answers
    if settings.transport != "live":
        return True  # another source, such as a local model, answers model requests in the place of the provider
    # A report of the run shows each answer. A request that no script answers goes to the provider.
    return scope.run.exchange_watch is not None or scope.scripts.may_answer(scope.default_cassette)


def check_side_request(method: str, host: str, port: int | None, path: str) -> None:
    """Raise ``NoNetwork`` for a side request where no scope is open."""
    if not is_own_request() and fails_as_side_request(
        method, host, port, path, runtime.current_settings(), answers=False
    ):
        raise no_network.NoNetwork


def fails_as_side_request(
    method: str, host: str, port: int | None, path: str, settings: Settings, *, answers: bool
) -> bool:
    """Whether a request is a side request that must fail: if a scope ``answers``, or in a test run with a guard."""
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

    ``port`` is None if it is not known, as when a name is resolved or a TLS handshake begins; the connection itself is
    checked with its port. ``path`` is that of the request, if the client tells it. ``resolved_from`` is the name that
    was last resolved to the address ``host``. ``within_loop``: the caller runs in an event loop. There a refusal is an
    ordinary exception, because some clients wait for ever for a task that ends in an outcome of pytest. ``quietly``: a
    refusal is ``NoNetwork``, because the caller asks only for an address, and can do without. ``library`` is the
    package that connects, if it does so outside of Python, where no frame shows it.
    """
    if is_own_request() or (host, port) in own_servers():
        return
    settings = runtime.current_settings()
    if is_loopback(host) and not settings.providers:
        return
    scope, _ = scopes.look_for_scope()
    if scope is not None:
        settings = scope.settings
    if may_be_listed(host, port, settings.ignore_hosts):
        return
    if not is_listed_provider(host, port, settings):  # a listed address is guarded, whatever name was resolved to it
        if is_loopback(host):
            return
        if resolved_from is not None:
            host = resolved_from
            if may_be_listed(host, port, settings.ignore_hosts):
                return
    if guard.is_on(settings) and side_requests.is_side_host(host, settings.side_requests):
        raise no_network.NoNetwork
    if guard.is_refused(host, port, path, settings, scope):
        if quietly:
            raise no_network.NoNetwork
        what = f"a connection to {guard.format_address(host, port)}"
        guard.fail_if_unasked(what, is_for_model=asks_model(host, port, path, settings))
        has_cassette = scope is not None and scope.default_cassette is not None
        if has_cassette or library:  # no cassette answers a library that connects outside of Python
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
    """Note for the summary of the run that ``what`` may reach providers unseen, if the guard is on here."""
    if guards_connections() and runtime.current_settings().guard != "sealed":
        unknown_modules.note_unguarded(
            f"{what} was started, and Aquila does not see its requests, so what it sends is neither recorded nor "
            "refused: give its models the base URL of `aquila serve`, or seal the run (aquila_guard = sealed)"
        )


def find_scope_for_own_socket(host: str, port: int | None) -> Scope | None:
    """Return the scope that answers a client with a socket of its own, which connects to a provider.

    None leaves the connection to the guard.
    """
    if is_own_request() or (host, port) in own_servers():
        return None
    if is_loopback(host) and not runtime.current_settings().providers:
        return None  # checked first, because `look_for_scope` would open the scope of a test that needs none
    scope, _ = scopes.look_for_scope()
    if scope is None or scope.lets_through(host):
        return None
    settings = scope.settings
    if settings.transport == "live" or is_listed(host, port, settings.ignore_hosts):
        return None
    answers = scope.has_answers or settings.transport not in ("replay", "record")
    return scope if answers and is_provider(host, port, settings) else None


def refuse_own_socket(host: str, port: int, why: str, *, speaks_http2: bool) -> BaseException:
    """Note for the test that a client on its own socket cannot be answered because of ``why``. Return the error."""
    what = f"a connection to {guard.format_address(host, port)}"
    client = f"a client on sockets of its own: {why}"
    return guard.make_refusal(_unrecordable_message(what, client, speaks_http2=speaks_http2))


_NOT_CLIENTS = frozenset({"aquila", "pytest_aquila", "pytest", "_pytest", "pluggy", "__main__"})


def _name_client(library: str) -> str:
    """Name the package that connects, and the package that uses it, if there is one. The running functions tell them.

    ``library`` is the package that connects, if it is known.
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

    The scope that answers it may have to be opened first, as that of a fixture. For other hosts, redirecting the
    client's socket opens the scope. Sockets to this machine are not redirected.
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
    """Whether a request stays on this machine, and the cassette of a scope holds its URL.

    It is one that ``is_let_through`` lets through. Settings about loopback, or about the host, take precedence.
    """
    if settings.loopback != "models" or settings.transport not in ("replay", "record") or scope.models_only:
        return False
    if scope.default_cassette is None or (host, port) in own_servers() or is_listed(host, port, settings.ignore_hosts):
        return False
    return scope.sessions.holds_address(scope.default_cassette, guard.format_origin(scheme, host, port) + path)


def explain_refused_connection(error: OSError, host: str | None, port: object) -> None:
    """Add a note to ``error``, a refused connection, if it may come from the sealed run."""
    if host is not None and isinstance(port, int) and is_loopback(host):
        settings = runtime.current_settings()
        if settings.guard == "sealed" and port not in settings.sealed_ports:
            error.add_note(explain_closed_port(port))


def explain_closed_port(port: int) -> str:
    """Return the advice for a sealed run in which a port of the machine is closed."""
    setting = setting_lines.setting_line("sealed_ports", port, runtime.current_run().layers.settings_file)
    return (
        f"Nothing listens on port {port} within this sealed run (aquila_guard = sealed). If a server of the machine "
        f"listens there outside of the run, hand the port through: {setting}"
    )


_OF_OTHERS = """\
It uses none of httpx2, httpx, aiohttp, requests, urllib3, botocore, httplib2, urllib.request and http.client,
nor HTTP/1.1 over Python's sockets; nor, for a WebSocket, websockets, aiohttp, websocket-client or httpx-ws.
"""
_WITHOUT_VCRPY = """\
requests, urllib3, botocore, httplib2, urllib.request and http.client are recorded with vcrpy, which is not installed:
{}. If it is another client:
"""
_BY_SERVER = """\
To record it, give the test the fixture aquila_server, or start `aquila serve --cassette NAME`, and give the
client the server's address as its base URL.
"""
_OF_HTTP2 = """\
It speaks gRPC, or HTTP/2 over sockets of its own, which neither a cassette nor `aquila serve` can record.
Let it ask by HTTP/1.1 if it can: transport="rest" in Google's clients, prefer_grpc=False in Qdrant's,
else the provider's HTTP API by another client. Or replace it with an object of your own in this test.
"""


def _advice_about_proxies() -> str:
    """Return what to do about a proxy that the environment names: a client on sockets of its own connects to that."""
    names = [name for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY") if {name, name.lower()} & os.environ.keys()]
    if not names:
        return ""
    return (
        f"Or unset {' and '.join(names)} for the tests: through a proxy no client on sockets of its own is recorded.\n"
    )


def _advice_for_others() -> str:
    """Return what to do about a client that does not speak HTTP/2."""
    is_installed = optional.is_installed("vcr")
    cause = _OF_OTHERS if is_installed else _WITHOUT_VCRPY.format(optional.install_command("vcr"))
    return cause + _BY_SERVER + _advice_about_proxies()


def _unrecordable_message(what: str, client: str, *, speaks_http2: bool) -> str:
    """Return the message for a refused connection whose client cannot ask the cassette in use."""
    return (
        f"{what} was refused: no cassette can answer its client ({client})\n"
        "\n"
        f"{guard.line_of_test()}"
        "\n"
        f"{_OF_HTTP2 if speaks_http2 else _advice_for_others()}"
        "To let it go, mark the test @pytest.mark.aquila_live, or name the host in the ini key aquila_ignore_hosts."
    )
