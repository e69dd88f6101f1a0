"""Intercepts the other HTTP clients: urllib3 (requests, botocore), httplib2, ``http.client`` and aiohttp.

One method of each is patched. A middleware answers aiohttp. Stubs of vcrpy (extra ``vcr``) answer the others. vcrpy has
many patches, so they are put in place only when a client sends a request that a scope answers.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

from aquila.fork_locks import renewed_in_child
from aquila.intercept.http_clients.foreign_mocks import has_foreign_cassette, is_replaced
from aquila.intercept.patching import Patch, PatchSet, Undoable
from aquila.lazy_imports import find_loaded, lazy_modules
from aquila.recording import runtime
from aquila.recording.network.host_names import is_loopback
from aquila.recording.network.model_hosts import asks_model

if TYPE_CHECKING:
    import socket

    from aquila import errors, optional, shell_words
    from aquila.intercept import policy
    from aquila.intercept.http_clients import aiohttp_answers, vcr_stubs
    from aquila.intercept.policy import AnsweringScope
    from aquila.recording.network import no_network
else:
    lazy_modules(
        globals(),
        "socket",
        "aquila: errors, optional, shell_words",
        "aquila.intercept: policy",
        "aquila.intercept.http_clients: aiohttp_answers, vcr_stubs",
        "aquila.recording.network: no_network",
    )

_HTTPS_PORT = 443

# Whether a cassette of vcrpy that is not Aquila's handles the current request. To record it, vcrpy's stub sends it over
# an ordinary `http.client` connection, which must not be caught again. `urlopen` sets it for one request and restores
# it.
_is_below_mock: ContextVar[bool] = ContextVar("aquila_below_mock", default=False)


class OtherClients:
    """Interception of the clients that vcrpy knows."""

    def __init__(self, patches: PatchSet, stubs: PatchSet) -> None:
        """``patches`` are those of these libraries. ``stubs`` are those of vcrpy, in force while a scope is open."""
        self._patches = patches
        self._stubs = stubs

    def patch_library(self, module: ModuleType) -> Iterable[Undoable]:
        """Patch ``http.client``, urllib3, httplib2 or aiohttp."""
        kind, method, catch = self.CAUGHT[module.__name__]
        yield Patch(getattr(module, kind), method, functools.partial(catch, self))

    def _catch_http_client(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def putrequest(connection: Any, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
            scheme = "https" if connection.default_port == _HTTPS_PORT else "http"
            # In a tunnel the connection's own host is the proxy.
            host, port = connection._tunnel_host or connection.host, connection._tunnel_port or connection.port
            whole = _whole_url(scheme, host, port, url)
            if is_replaced(original, "http") or _is_below_mock.get():
                return original(connection, method, url, *args, **kwargs)
            # The guard of connections sees only the address of a proxy, and nothing where a live test has connected.
            unseen = connection._tunnel_host is not None or whole is url or _is_open(connection)
            if not self._is_answered(method, whole, unseen=unseen):
                return original(connection, method, url, *args, **kwargs)
            vcr_stubs.turn_into_stub(connection)
            return connection.putrequest(method, url, *args, **kwargs)

        return putrequest

    def _catch_urllib3(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def urlopen(pool: Any, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
            whole = _whole_url(pool.scheme, pool.host, pool.port, url)
            if not has_foreign_cassette(pool.ConnectionCls):
                try:
                    self._prepare_stubs(method, whole, unseen=whole is url)
                except no_network.NoNetwork as error:
                    exceptions = sys.modules["urllib3"].exceptions
                    reason = exceptions.NewConnectionError(pool, f"Failed to resolve {pool.host!r} ({error})")
                    raise exceptions.MaxRetryError(pool, url, reason) from error
                return original(pool, method, url, *args, **kwargs)
            before = _is_below_mock.get()
            _held = runtime.hold_values()
            _is_below_mock.set(True)
            try:
                return original(pool, method, url, *args, **kwargs)
            finally:
                _held = runtime.hold_values()
                _is_below_mock.set(before)

        return urlopen

    def _catch_httplib2(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def request(client: Any, uri: str, method: str = "GET", *args: Any, **kwargs: Any) -> Any:
            try:
                self._prepare_stubs(method, uri, unseen=client.proxy_info is not None)
            except no_network.NoNetwork as error:
                # Not imported here: httplib2 is optional, and is loaded already, because its method is being called.
                raise sys.modules["httplib2"].ServerNotFoundError(str(error)) from error
            return original(client, uri, method, *args, **kwargs)

        return request

    def _catch_aiohttp(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        async def request(session: Any, method: str, url: Any, **kwargs: Any) -> Any:
            # The private method that joins a session's base URL and a path.
            try:
                whole = str(session._build_url(url))
            except ValueError:  # the URL is wrong, and aiohttp has its own error for that
                return await original(session, method, url, **kwargs)
            try:
                replaced = is_replaced(original, "aiohttp")
                answering = None if replaced else self._find_answering_scope(method, whole, unseen=True)
            except no_network.NoNetwork as error:
                raise sys.modules["aiohttp"].ClientOSError(*error.args) from error
            if answering is None or _is_redirected(session, method, whole):
                return await original(session, method, url, **kwargs)
            return await original(session, method, url, **aiohttp_answers.with_middleware(session, kwargs))

        return request

    CAUGHT: ClassVar[Mapping[str, tuple[str, str, Callable[[OtherClients, Callable[..., Any]], Any]]]] = {
        # Every request of a connection begins with this method, also those of `urllib.request`.
        "http.client": ("HTTPConnection", "putrequest", _catch_http_client),
        # Every request of urllib3 goes through this method, before a connection is chosen.
        "urllib3": ("HTTPConnectionPool", "urlopen", _catch_urllib3),
        # The only public method that sends a request.
        "httplib2": ("Http", "request", _catch_httplib2),
        # `get`, `post` and `request` all call this private method, and vcrpy patches it too.
        "aiohttp": ("ClientSession", "_request", _catch_aiohttp),
    }
    """For each library the class and the method that is caught, and the method here that catches it."""

    def _is_answered(self, method: str, url: str, *, unseen: bool) -> bool:
        """Whether a scope answers a request. ``unseen``: the guard of connections may not see where it goes.

        If vcrpy is missing, a request for a model raises ``MissingDependency``, and other requests are not answered.
        """
        answering = self._find_answering_scope(method, url, unseen=unseen)
        if answering is None or self._stubs.has_patches:  # with these patches vcrpy is installed
            return answering is not None
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        try:
            # Without path and user, which may hold secrets.
            purpose = f"{method} {parts.scheme}://{host}: a cassette for this client"
            with _hide_httpx_from_openai():
                optional.import_vcrpy(purpose=purpose)
        except ImportError:
            if asks_model(host, port, parts.path, answering.settings):
                raise
            return False
        return True

    def _find_answering_scope(self, method: str, url: str, *, unseen: bool) -> AnsweringScope | None:
        if not self._patches.in_force:
            return None
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        if not (self._stubs.in_force or _joins_scope_on_demand() or policy.asks_model_here(host, port, parts.path)):
            policy.check_side_request(method, host, port, parts.path)
            if unseen:
                policy.check_connection(host, port, path=parts.path)
            # The guard of connections decides about the rest.
            return None
        return policy.find_answering_scope(method, parts.scheme, host, port, parts.path)

    def _prepare_stubs(self, method: str, url: str, *, unseen: bool) -> None:
        """Put vcrpy's stubs in place for a request that a scope answers."""
        # The first condition comes first: it raises for a side request.
        if self._is_answered(method, url, unseen=unseen) and not self._stubs.has_patches:
            self._stubs.add_patches(self._make_stubs)

    def _make_stubs(self) -> Iterable[Undoable]:
        if not self._stubs.has_patches:  # another thread may have been first
            yield vcr_stubs.VcrPatches()


_importing_vcrpy = renewed_in_child(threading.Lock())


@contextlib.contextmanager
def _hide_httpx_from_openai() -> Iterator[None]:
    """Let version 3 of openai take httpx for absent while the block imports vcrpy, which imports httpx.

    openai reads classes of httpx, in whatever thread it asks, as soon as that is in ``sys.modules``: they may not be
    there yet.
    """
    with _importing_vcrpy:
        openai: Any = find_loaded("openai._httpx2")
        if "httpx" in sys.modules or not hasattr(openai, "_loaded_legacy_httpx"):
            yield
            return
        patch = Patch(openai, "_loaded_legacy_httpx", lambda _: lambda: None)
        try:
            yield
        finally:
            patch.undo()


def _is_redirected(session: Any, method: str, url: str) -> bool:
    """Whether aiohttp is too old for the middleware, and the request is answered over a redirected socket instead.

    Raises ``MissingDependency`` if the socket is not redirected either.
    """
    aiohttp: Any = sys.modules["aiohttp"]
    # The private attribute is new in 3.12.0, the method of bodies in 3.12.2.
    if hasattr(session, "_middlewares") and hasattr(aiohttp.Payload, "as_bytes"):
        return False
    parts = urlsplit(url)
    host = parts.hostname or ""
    if runtime.is_under_pytest() and policy.find_scope_for_own_socket(host, parts.port) is not None:
        return True
    raise errors.MissingDependency(
        f"{method} {parts.scheme}://{host}: a cassette, but for a provider in a test run, needs the package 'aiohttp' "
        f"in version 3.12.2 or newer, and {aiohttp.__version__} is installed; install it with: "
        f"pip install {shell_words.quote_word('aiohttp>=3.12.2')}"
    )


def _is_open(connection: Any) -> bool:
    """Whether a connection of ``http.client`` is open already, to another machine.

    A program may lead any name to a server here. The sockets of mocks are no sockets of Python.
    """
    opened = connection.sock
    if not isinstance(opened, socket.SocketType) or opened.family not in (socket.AF_INET, socket.AF_INET6):
        return False
    try:
        return not is_loopback(opened.getpeername()[0])
    except OSError:  # the other side has closed it
        return False


def _whole_url(scheme: str, host: str, port: int | None, target: str) -> str:
    """Return the URL of a request. A ``target`` that is a whole URL, as proxies get it, is returned itself.

    ``host`` has no brackets.
    """
    if target.lower().startswith(("http://", "https://")):  # only at the beginning: `/reader/https://a.org` is a path
        return target
    address = f"[{host}]" if ":" in host else host
    return f"{scheme}://{address}:{port}{target}" if port else f"{scheme}://{address}{target}"


def _joins_scope_on_demand() -> bool:
    """Whether this process was started within a scope of its parent, which it joins when something asks for one."""
    run = runtime.current_run()
    return run.can_open_scope and not run.runs_tests
