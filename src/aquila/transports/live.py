"""The transports of the upstream ``live``: the real network.

They are made on first use, because most test runs never need them and a TLS context takes milliseconds.
"""

from __future__ import annotations

import asyncio
import os
import threading
import urllib.request
import weakref
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any, TypeVar

import httpx2

from aquila.errors import ConfigError
from aquila.fork_locks import renewed_in_child
from aquila.lazy_imports import lazy_modules
from aquila.recording import runtime

if TYPE_CHECKING:
    from anyio import lowlevel
else:
    lazy_modules(globals(), "anyio: lowlevel")

_PoolT = TypeVar("_PoolT", httpx2.HTTPTransport, httpx2.AsyncHTTPTransport)

_SOME_IDLE = httpx2.Limits(max_connections=1000, max_keepalive_connections=100)
_NO_IDLE = httpx2.Limits(max_connections=1000, max_keepalive_connections=0)


def _connection_limits() -> httpx2.Limits:
    """Return the limits that the openai SDK gives its own clients; in a test run, without idle connections.

    The event loop of a test ends with the test. Sockets that are still open then are warnings, which many projects make
    errors.
    """
    return _NO_IDLE if runtime.is_under_pytest() else _SOME_IDLE


def _proxy_for(url: httpx2.URL) -> str | None:
    """Return the proxy that the environment or the system sets for a URL, by the standard library's rules."""
    proxies = urllib.request.getproxies()
    # With the port, too: an exception may be for one port. Beside a port, an IPv6 address has brackets.
    if not proxies or any(map(urllib.request.proxy_bypass, (url.host, url.netloc.decode("ascii")))):
        return None
    proxy = proxies.get(url.scheme) or proxies.get("all")
    return proxy if proxy is None or "://" in proxy else f"http://{proxy}"


def _make_pool(kind: type[_PoolT], url: httpx2.URL, proxy: str | None, limits: httpx2.Limits) -> _PoolT:
    """Make the pool for requests to ``url``. Raises ``ConfigError`` if the environment allows none."""
    try:
        # `verify` by position, so that Aquila's own patch does not put the making off until the first request.
        return kind(True, limits=limits, proxy=proxy)
    except (httpx2.InvalidURL, ImportError, OSError, ValueError) as error:  # a proxy, a package for it, certificates
        if isinstance(error, OSError):
            way = " with the certificates of the system, or of SSL_CERT_FILE"
        else:
            way = "" if proxy is None else " through the proxy of the environment"  # unnamed: it may hold a password
        raise ConfigError(f"no connection to {url.host} can be made{way}: {error}") from error


class LiveTransport(httpx2.BaseTransport):
    """Sends requests over the network, through the environment's proxies. Has a pool for each process and proxy."""

    def __init__(self) -> None:
        self._lock = renewed_in_child(threading.Lock())
        # By process and proxy: a forked child must not use its parent's connections. They last as long as the process.
        self._pools: dict[tuple[int, str | None], httpx2.HTTPTransport] = {}

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        return self.pool_for(request.url).handle_request(request)

    def pool_for(self, url: httpx2.URL) -> httpx2.HTTPTransport:
        """Return the pool for requests to ``url``. Making the first one of a process takes up to a second."""
        key = os.getpid(), _proxy_for(url)
        with self._lock:
            pool = self._pools.get(key)
            if pool is None:
                pool = self._pools[key] = _make_pool(httpx2.HTTPTransport, url, key[1], _connection_limits())
        return pool

    def get_ready(self, url: str) -> None:
        """Make the pool for requests to ``url``, if this process has no pool yet.

        If it has one, nothing is left that takes long, and finding the proxy of a URL is saved.
        """
        process = os.getpid()
        with self._lock:
            is_ready = any(of == process for of, _ in self._pools)
        if not is_ready:
            self.pool_for(httpx2.URL(url))


class AsyncLiveTransport(httpx2.AsyncBaseTransport):
    """The async twin of ``LiveTransport``. Connections belong to an event loop, so each loop has its own pools."""

    def __init__(self) -> None:
        # By event loop. An open connection keeps its loop alive, so an entry disappears once all of them are closed.
        self._loops: weakref.WeakKeyDictionary[Any, _LoopConnections] = weakref.WeakKeyDictionary()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        return await (await self.pool_for(request.url)).handle_async_request(request)

    async def pool_for(self, url: httpx2.URL) -> httpx2.AsyncHTTPTransport:
        """The async twin of ``LiveTransport.pool_for``."""
        # A forked child never runs its parent's loop, so this key also starts anew after a fork.
        loop = lowlevel.current_token().native_token
        connections = self._loops.get(loop)
        if connections is None:
            self._forget_closed_loops()
            connections = self._loops[loop] = _LoopConnections()
            await connections.close_with_loop()
        return connections.pool_for(url)

    async def get_ready(self, url: str) -> None:
        """The async twin of ``LiveTransport.get_ready``, for this event loop."""
        connections = self._loops.get(lowlevel.current_token().native_token)
        if connections is None or not connections.has_pools:
            await self.pool_for(httpx2.URL(url))

    def _forget_closed_loops(self) -> None:
        """Forget loops that were closed without ``shutdown_asyncgens``, and the sockets that they left open."""
        for reference in self._loops.keyrefs():
            loop = reference()
            # Loops of trio have no `is_closed`, and always close their generators before they end.
            if isinstance(loop, asyncio.AbstractEventLoop) and loop.is_closed():
                self._loops.pop(loop, None)

    async def aclose(self) -> None:
        connections = self._loops.get(lowlevel.current_token().native_token)
        if connections is not None:
            await connections.aclose()


class _LoopConnections:
    """The connections of one event loop: a pool for each proxy."""

    def __init__(self) -> None:
        self._limits = _connection_limits()
        self._pools: dict[str | None, httpx2.AsyncHTTPTransport] = {}
        self._closing: AsyncGenerator[None] | None = None

    @property
    def has_pools(self) -> bool:
        """Whether a request was sent, or got ready, on this loop."""
        return bool(self._pools)

    def pool_for(self, url: httpx2.URL) -> httpx2.AsyncHTTPTransport:
        proxy = _proxy_for(url)
        pool = self._pools.get(proxy)
        if pool is None:
            pool = self._pools[proxy] = _make_pool(httpx2.AsyncHTTPTransport, url, proxy, self._limits)
        return pool

    async def close_with_loop(self) -> None:
        """Make the running loop close the idle connections before it ends.

        ``asyncio.run`` and ``trio.run`` close the async generators that are still open at the end of their loop.
        """
        if self._limits.max_keepalive_connections:
            self._closing = self._close_at_end()
            await anext(self._closing)

    async def _close_at_end(self) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            # Other generators may still send requests while the loop ends. Their connections must not stay idle.
            self._limits = _NO_IDLE
            self._closing = None  # it refers to its loop
            await self.aclose()

    async def aclose(self) -> None:
        pools = list(self._pools.values())
        self._pools.clear()
        for pool in pools:
            await pool.aclose()
