"""Live: the real network.

Built on first use, since most test runs never get here and a TLS context costs milliseconds.
"""

from __future__ import annotations

import os
import threading
import urllib.request
import weakref
from typing import TYPE_CHECKING, Any

import httpx2

from aquila.lazy_imports import lazy_modules
from aquila.recording import runtime

if TYPE_CHECKING:
    from anyio import lowlevel
else:
    lazy_modules(globals(), lowlevel="anyio.lowlevel")


def _connection_limits() -> httpx2.Limits:
    """The limits that the openai SDK gives its own clients.

    In a test run no connection waits for a next request: a test's event loop ends with the test, and sockets that are
    still open then are warnings, which many projects make errors.
    """
    idle = 0 if runtime.is_under_pytest() else 100
    return httpx2.Limits(max_connections=1000, max_keepalive_connections=idle)


def _proxy_for(url: httpx2.URL) -> str | None:
    """The proxy that the environment (or the system) names for a URL, by the standard library's rules."""
    proxies = urllib.request.getproxies()
    if not proxies or urllib.request.proxy_bypass(url.host):
        return None
    proxy = proxies.get(url.scheme) or proxies.get("all")
    return proxy if proxy is None or "://" in proxy else f"http://{proxy}"


class LiveTransport(httpx2.BaseTransport):
    """Sends requests over the network, through the environment's proxies. One pool per proxy; a fork starts anew."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # By process and proxy: a forked child must not use its parent's connections. Emptied by `close`.
        self._pools: dict[tuple[int, str | None], httpx2.HTTPTransport] = {}

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        key = os.getpid(), _proxy_for(request.url)
        with self._lock:
            pool = self._pools.get(key)
            if pool is None:
                pool = self._pools[key] = httpx2.HTTPTransport(limits=_connection_limits(), proxy=key[1])
        return pool.handle_request(request)

    def close(self) -> None:
        with self._lock:
            for (process, _), pool in self._pools.items():
                if process == os.getpid():
                    pool.close()
            self._pools.clear()


class AsyncLiveTransport(httpx2.AsyncBaseTransport):
    """The async twin of ``LiveTransport``. Connections belong to an event loop, so each loop has its own."""

    def __init__(self) -> None:
        # By event loop, then by proxy. Weak: the connections of a loop go with it.
        self._loops: weakref.WeakKeyDictionary[Any, dict[str | None, httpx2.AsyncHTTPTransport]]
        self._loops = weakref.WeakKeyDictionary()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        # A forked child never runs its parent's loop, so this key also starts anew after a fork.
        pools = self._loops.setdefault(lowlevel.current_token().native_token, {})
        proxy = _proxy_for(request.url)
        pool = pools.get(proxy)
        if pool is None:
            pool = pools[proxy] = httpx2.AsyncHTTPTransport(limits=_connection_limits(), proxy=proxy)
        return await pool.handle_async_request(request)

    async def aclose(self) -> None:
        for pool in self._loops.pop(lowlevel.current_token().native_token, {}).values():
            await pool.aclose()
