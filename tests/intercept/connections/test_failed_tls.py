"""A connection that TLS refuses ends in a replay as it ended when it was recorded: in the client's own error."""

from __future__ import annotations

import asyncio
import inspect
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Any

import aiohttp
import pytest
import trustme

from tests.support.alike import alike
from tests.support.slow import slow_but_each

URL, SOCKET = "https://127.0.0.1:{}/v1/chat/completions", "wss://127.0.0.1:{}/v1/realtime?model=m"


@pytest.fixture(params=["without TLS", "with a certificate of a stranger"])
def port(request: pytest.FixtureRequest) -> Iterator[int]:
    """A server with which no client that asks for TLS gets on."""
    context = None
    if request.param != "without TLS":
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        trustme.CA().issue_cert("127.0.0.1").configure_cert(context)

    def answer() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                try:
                    if context is None:
                        connection.recv(1000)
                        connection.sendall(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n")
                    else:
                        context.wrap_socket(connection, server_side=True).close()
                except OSError:
                    pass  # the client has left

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=answer)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
    thread.join()


async def of_aiohttp(port: int) -> None:
    async with aiohttp.ClientSession() as session:
        await session.post(URL.format(port), json={})


async def web_socket_of_aiohttp(port: int) -> None:
    async with aiohttp.ClientSession() as session:
        await session.ws_connect(SOCKET.format(port))


def of_httpx(port: int) -> None:
    httpx = pytest.importorskip("httpx")
    httpx.post(URL.format(port), json={}, trust_env=False)


def of_requests(port: int) -> None:
    requests = pytest.importorskip("requests")
    requests.post(URL.format(port), json={})


def of_urllib(port: int) -> None:
    import urllib.request

    urllib.request.urlopen(URL.format(port), b"{}")


def web_socket_of_websockets(port: int) -> None:
    from websockets.sync.client import connect

    connect(SOCKET.format(port))


CLIENTS = (of_aiohttp, web_socket_of_aiohttp, of_httpx, of_requests, of_urllib, web_socket_of_websockets)


def describe_failure(connect: Callable[[int], Any], port: int) -> list[type]:
    """The class of the error of a client, and those of the errors that it holds."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 (whatever the client has for it)
        if inspect.iscoroutinefunction(connect):
            asyncio.run(connect(port))
        else:
            connect(port)
    error: Any = caught.value
    kinds: list[type] = []
    while isinstance(error, BaseException):
        kinds.append(type(error))
        error = getattr(error, "reason", None) or next(iter(error.args), None)
    return kinds


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("connect", slow_but_each(3, CLIENTS), ids=lambda connect: connect.__name__)
def test_a_connection_that_tls_refuses_ends_in_the_same_error(connect: Callable[[int], Any], port: int) -> None:
    alike(lambda: describe_failure(connect, port))
