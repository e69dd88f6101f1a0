"""Intercepts the clients of httpx2 and httpx at their transports.

Two methods are patched: ``HTTPTransport.handle_request`` and ``AsyncHTTPTransport.handle_async_request``. So it does
not matter when a client was made, by whom, or how a transport is mounted. Transports that never reach the network
(mocks, ASGI, WSGI) are left alone. The patches are in force while a scope is open, or the guard of a test run is on.

Nothing here imports an HTTP client. A library is patched when it is imported.
"""

from __future__ import annotations

import functools
import sys
import threading
import weakref
from collections.abc import Callable, Collection, Iterable
from contextlib import AbstractContextManager, suppress
from types import ModuleType
from typing import TYPE_CHECKING, Any

from aquila.fork_locks import renewed_in_child
from aquila.intercept.http_clients.foreign_mocks import is_replaced
from aquila.intercept.patching import Patch, PatchSet, Undoable
from aquila.lazy_imports import lazy_modules
from aquila.recording import runtime
from aquila.recording.known_environment import KnownEnvironment
from aquila.transports import CORE_LIBRARIES

if TYPE_CHECKING:
    from aquila.intercept import policy
    from aquila.intercept.policy import AnsweringScope
    from aquila.intercept.web_sockets.libraries import httpx_sockets
    from aquila.recording.network import no_network
    from aquila.transports import own_requests
    from aquila.transports.callers import intercepted_requests
else:
    lazy_modules(
        globals(),
        "aquila.intercept: policy",
        "aquila.intercept.web_sockets.libraries: httpx_sockets",
        "aquila.recording.network: no_network",
        "aquila.transports: own_requests",
        "aquila.transports.callers: intercepted_requests",
    )


class HttpxClients:
    """Interception of the clients of httpx2 and httpx."""

    def __init__(self, patches: PatchSet, scopes: Collection[str]) -> None:
        """``patches`` are those of these libraries. ``scopes`` are the ids of the open scopes."""
        self._patches = patches
        self._scopes = scopes
        # One lock for all deferred pools, which are rarely built. If two threads use a pool at once, one of them builds
        # it. Re-entrant, because the garbage collector may interrupt the building and use another pool.
        self._building = renewed_in_child(threading.RLock())

    def patch_library(self, module: ModuleType) -> Iterable[Undoable]:
        """Patch httpx2 or httpx."""
        # `handle_request` is where a request leaves for the network, with its final URL, headers and body.
        # `__init__` builds the connection pool, which is slow, and mostly not needed while cassettes answer.
        library = module.__name__
        yield Patch(module.HTTPTransport, "handle_request", functools.partial(self._catch_requests, library))
        yield Patch(module.HTTPTransport, "__init__", self._defer_pool)
        catch_async = functools.partial(self._catch_async_requests, library)
        yield AsyncPatch(module.AsyncHTTPTransport, "handle_async_request", catch_async)
        yield Patch(module.AsyncHTTPTransport, "__init__", self._defer_pool)
        yield from _patch_proxies(library)

    def _find_answering_scope(self, request: Any, library: str) -> AnsweringScope | None:
        url = request.url
        try:
            return policy.find_answering_scope(request.method, url.scheme, url.host, url.port, url.path)
        except no_network.NoNetwork as error:
            raise sys.modules[library].ConnectError(str(error), request=request) from error

    def _catch_requests(self, library: str, original: Callable[..., Any]) -> Callable[..., Any]:
        # A mock may have replaced the method. Requests that it lets through are checked by the guard of connections.
        replaced = is_replaced(original, library)

        @functools.wraps(original)
        def handle_request(transport: Any, request: Any) -> Any:
            if replaced or not self._patches.in_force or _is_pool_replaced(transport, library, "handle_request"):
                return original(transport, request)
            # Only a GET can be a handshake. The method is checked first: looking up a header takes as long as finding
            # the scope.
            if request.method == "GET" and "upgrade" in request.headers and httpx_sockets.asks_to_switch(request):
                return httpx_sockets.answer(library, transport, request, original)
            answering = self._find_answering_scope(request, library)
            if answering is None:
                return original(transport, request)
            return intercepted_requests.answer_request(*answering, request, functools.partial(original, transport))

        return handle_request

    def _catch_async_requests(
        self, library: str, patch: AsyncPatch, original: Callable[..., Any]
    ) -> Callable[..., Any]:
        replaced = is_replaced(original, library)

        @functools.wraps(original)
        async def handle_async_request(transport: Any, request: Any) -> Any:
            if replaced or not self._patches.in_force or _is_pool_replaced(transport, library, "handle_async_request"):
                return await original(transport, request)
            if request.method == "GET" and "upgrade" in request.headers and httpx_sockets.asks_to_switch(request):
                return await httpx_sockets.answer_async(library, transport, request, original)
            answering = self._find_answering_scope(request, library)
            if answering is None:
                return await original(transport, request)
            send = functools.partial(patch.send, original, transport)
            return await intercepted_requests.answer_request_async(*answering, request, send)

        return handle_async_request

    def _defer_pool(self, original: Callable[..., None]) -> Callable[..., None]:
        """Let a transport that is made while a scope is open build its connection pool at the first use.

        Building it loads every certificate authority of the system, which takes longer than a whole small test.
        """

        @functools.wraps(original)
        def __init__(transport: Any, *args: Any, **kwargs: Any) -> None:
            plain = not args and kwargs.get("verify", True) is True and kwargs.get("cert") is None
            if self._scopes and plain and not isinstance(kwargs.get("proxy"), str):
                # `_pool` is the one attribute in which the transports of both libraries keep their connections.
                transport._pool = DeferredPool(
                    transport, functools.partial(original, transport, **kwargs), self._building
                )
            else:
                original(transport, *args, **kwargs)

        return __init__


class AsyncPatch(Patch):
    """The patch of the method that sends async requests. Until it is undone their pools keep no connection open.

    Each test has its own event loop, but may share the client of a module. A connection that the client keeps open
    fails in the next loop: "Event loop is closed". A replay has no connection.
    """

    def __init__(self, owner: Any, name: str, make: Callable[[AsyncPatch, Any], Any]) -> None:
        self._limits: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()  # those of the pools before
        super().__init__(owner, name, functools.partial(make, self))

    async def send(self, original: Callable[..., Any], transport: Any, request: Any) -> Any:
        """Send a request, which is recorded, by the client's own transport."""
        pool: Any = getattr(transport, "_pool", None)
        pool = pool.real_pool() if isinstance(pool, DeferredPool) else pool
        if limit := getattr(pool, "_max_keepalive_connections", 0):  # private, with the same name in both libraries
            self._limits[pool] = limit
            pool._max_keepalive_connections = 0
            await _close_idle(pool)
        return await original(transport, request)

    def undo(self) -> None:
        """Also let the pools keep connections open again: an application may record in one block only."""
        super().undo()  # first: no request can add a pool then
        with suppress(KeyError):  # none is left; not asked before, because another thread may drop the last pool
            while True:
                pool, limit = self._limits.popitem()
                pool._max_keepalive_connections = limit


async def _close_idle(pool: Any) -> None:
    """Close the connections that no request uses. The pool itself would fail for those whose event loop has ended."""
    for connection in pool.connections:
        if connection.is_idle():
            with suppress(Exception):  # it counts as closed all the same
                await connection.aclose()


def _is_pool_replaced(transport: Any, library: str, method: str) -> bool:
    """Whether a mock has replaced the method to which a transport of httpx2 or httpx passes its requests.

    ``library`` is the one that the transport belongs to, and ``method`` the name of the pool's method.
    """
    pool = getattr(transport, "_pool", None)  # private, with the same name in httpx and httpx2
    if pool is None:
        return False
    if method in getattr(pool, "__dict__", ()):
        return True  # replaced on this object alone
    kind: Any = type(pool)
    if kind is DeferredPool:  # not built yet: its class will be the library's own
        name = "AsyncConnectionPool" if method == "handle_async_request" else "ConnectionPool"
        # The name is missing while another thread imports the library, as the first requests of several threads may.
        kind = getattr(sys.modules.get(CORE_LIBRARIES[library]), name, None)
        if kind is None:
            return False
    for base in kind.__mro__:
        if method in base.__dict__:
            return is_replaced(base.__dict__[method], base.__module__.partition(".")[0])
    return True


def _patch_proxies(library: str) -> Iterable[Undoable]:
    """Cache the proxies that a library reads from the environment for each new client, until a variable changes.

    Reading them decodes every variable twice, and half of the variables are Aquila's dummies. In a small test this
    takes longer than two replayed requests.
    """
    utilities, urllib_request = sys.modules.get(f"{library}._utils"), sys.modules.get("urllib.request")
    read = getattr(utilities, "getproxies", None)
    # Not on macOS and Windows, where the system names proxies too, and a change of those cannot be noticed.
    if read is not None and read is getattr(urllib_request, "getproxies_environment", None):
        yield Patch(utilities, "getproxies", _remember_proxies)


class _KnownProxies:
    """The proxies that were read last, and from which variables.

    The outermost run owns it, so the proxies stay known when the patches are undone. Outside a run of tests, each block
    patches again.
    """

    def __init__(self) -> None:
        # Replaced as a whole, so that threads need no lock. Never stale: the variables are compared each time.
        self.last: tuple[KnownEnvironment, dict[str, str]] | None = None


def _remember_proxies(read: Callable[[], dict[str, str]]) -> Callable[[], dict[str, str]]:
    known = runtime.process_run().state_of(_KnownProxies)

    @functools.wraps(read)
    def getproxies() -> dict[str, str]:
        last = known.last
        if last is None or not last[0].is_current():
            last = known.last = KnownEnvironment(), read()
        return dict(last[1])

    return getproxies


def patch_executors(module: ModuleType) -> Iterable[Undoable]:
    """Let Aquila's own requests run functions in an executor, such as resolving a name."""
    # `asyncio` resolves names in a ThreadPoolExecutor, where the context of the request is missing.
    yield Patch(module.ThreadPoolExecutor, "submit", own_requests.share_with_executors)


class DeferredPool:
    """Stands in for the connection pool of a transport until the pool is used; then the real pool takes its place.

    ``transport`` is the owner, and ``build`` is its original ``__init__``, which sets the real pool. ``building`` is
    the lock under which pools are built.
    """

    def __init__(self, transport: Any, build: Callable[[], None], building: AbstractContextManager[object]) -> None:
        self._transport = transport
        self._build = build
        self._building = building

    def real_pool(self) -> Any:
        """Return the real pool. It is built now if it was not built yet."""
        with self._building:
            if self._transport._pool is self:
                self._build()
        return self._transport._pool

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real_pool(), name)

    # A pool that is opened and closed without being used is never built.

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    async def __aenter__(self) -> Any:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    def close(self) -> None:
        """Do nothing: there is no connection."""

    async def aclose(self) -> None:
        """Do nothing: there is no connection."""
