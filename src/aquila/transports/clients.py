"""HTTP clients with Aquila's transports, for ``ask`` and ``stream`` and for any other openai client."""

from __future__ import annotations

import functools
import weakref
from typing import TYPE_CHECKING, Any, Unpack

import httpx2

from aquila.lazy_imports import lazy_modules
from aquila.transports.routes.routing import RoutingTransport, Transport

if TYPE_CHECKING:
    from anyio import lowlevel

    from aquila.transports.client_options import HttpClientOptions
else:
    lazy_modules(globals(), "anyio: lowlevel")

# The openai SDK's own limits: ten minutes, and five seconds to connect.
_TIMEOUT = httpx2.Timeout(600.0, connect=5.0)


def http_client(
    *, transport: str | Transport | None = None, cassette: str | None = None, **options: Unpack[HttpClientOptions]
) -> httpx2.Client:
    """Return an httpx2 client for any SDK: ``openai.OpenAI(http_client=aquila.http_client())``.

    Each of its requests goes where the settings and the scope in force say at that moment, so one client can live as
    long as the program. ``transport`` and ``cassette`` fix them, as in ``ask``. ``options`` go to ``httpx2.Client``.

    Examples:
        >>> import openai
        >>> client = openai.OpenAI(api_key="a-key", http_client=aquila.http_client())
        >>> messages = [{"role": "user", "content": "How do eagles fly so far?"}]
        >>> stream = client.chat.completions.create(model="gpt-4.1-mini", messages=messages, stream=True)
        >>> "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
        'Eagles circle in rising warm air.'
    """
    return httpx2.Client(transport=RoutingTransport(transport, cassette), **_with_defaults(options))


def async_http_client(
    *, transport: str | Transport | None = None, cassette: str | None = None, **options: Unpack[HttpClientOptions]
) -> httpx2.AsyncClient:
    """The async twin of ``http_client``: ``openai.AsyncOpenAI(http_client=aquila.async_http_client())``.

    Examples:
        >>> import asyncio, openai
        >>> async def answer(question):
        ...     client = openai.AsyncOpenAI(api_key="a-key", http_client=aquila.async_http_client())
        ...     stream = await client.chat.completions.create(
        ...         model="gpt-4.1-mini", messages=[{"role": "user", "content": question}], stream=True
        ...     )
        ...     return "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])
        >>> asyncio.run(answer("How do eagles fly so far?"))
        'Eagles circle in rising warm air.'
    """
    return httpx2.AsyncClient(transport=RoutingTransport(transport, cassette), **_with_defaults(options))


def _with_defaults(options: HttpClientOptions) -> dict[str, Any]:
    return {"timeout": _TIMEOUT, "follow_redirects": True, **options}


@functools.cache  # for the life of the process; never closed, because there is nothing to close
def sync_client() -> httpx2.Client:
    """Return the client of all synchronous calls in this process. It holds no connections: the upstreams do."""
    return http_client()


# One client for each event loop, to which it is bound. Weak, so that an entry disappears with its loop.
_async_clients: weakref.WeakKeyDictionary[Any, httpx2.AsyncClient] = weakref.WeakKeyDictionary()


def async_client() -> httpx2.AsyncClient:
    """Return the client of all asynchronous calls in the running event loop."""
    loop = lowlevel.current_token().native_token
    client = _async_clients.get(loop)
    if client is None:
        client = _async_clients[loop] = async_http_client()
    return client
