"""A failure that was recorded on one system is the same failure on every other, whose numbers of errors are others."""

from __future__ import annotations

import contextlib
import errno
import http.client
import re
import socket
import ssl
from pathlib import Path

import aiohttp
import anyio
import pytest

import aquila
import tests.support.preloaded  # noqa: F401
from aquila.transports.callers.system_errors import os_error_from_text

LINUX, MACOS, WINDOWS = "Linux", "macOS", "Windows"
CONNECTIONS = [
    ("[Errno 111] Connection refused", LINUX, ConnectionRefusedError, "ECONNREFUSED"),
    ("[Errno 61] Connection refused", MACOS, ConnectionRefusedError, "ECONNREFUSED"),
    ("Multiple exceptions: [Errno 61] Connect call failed ('::1', 1), [Errno 61] Connect call failed ('127.0.0.1', 1)",
     MACOS, ConnectionRefusedError, "ECONNREFUSED"),
    ("[WinError 10061] No connection could be made because the target machine actively refused it",
     WINDOWS, ConnectionRefusedError, "ECONNREFUSED"),
    ("[Errno 104] Connection reset by peer", LINUX, ConnectionResetError, "ECONNRESET"),
    ("[Errno 54] Connection reset by peer", MACOS, ConnectionResetError, "ECONNRESET"),
    ("[Errno 53] Software caused connection abort", MACOS, ConnectionAbortedError, "ECONNABORTED"),
    ("[Errno 60] Operation timed out", MACOS, TimeoutError, "ETIMEDOUT"),
    ("[Errno 65] No route to host", MACOS, OSError, "EHOSTUNREACH"),
    ("[Errno 51] Network is unreachable", MACOS, OSError, "ENETUNREACH"),
    ("[Errno 32] Broken pipe", MACOS, BrokenPipeError, "EPIPE"),
]  # fmt: skip
NAMES = [
    ("[Errno -2] Name or service not known", LINUX, "EAI_NONAME"),
    ("[Errno 8] nodename nor servname provided, or not known", MACOS, "EAI_NONAME"),
    ("[Errno 11001] getaddrinfo failed", WINDOWS, "EAI_NONAME"),
    ("[Errno -3] Temporary failure in name resolution", LINUX, "EAI_AGAIN"),
    ("[Errno 2] Temporary failure in name resolution", MACOS, "EAI_AGAIN"),
    ("[Errno 11002] getaddrinfo failed", WINDOWS, "EAI_AGAIN"),
]


@pytest.mark.parametrize(("text", "system", "kind", "name"), CONNECTIONS)
def test_a_connection_that_failed_on_a_system_has_the_class_and_number_of_this_one(
    text: str, system: str, kind: type[OSError], name: str
) -> None:
    error = os_error_from_text(text)
    assert type(error) is kind
    assert error.errno == getattr(errno, name)


@pytest.mark.parametrize(("text", "system", "name"), NAMES)
def test_a_name_that_was_not_found_on_a_system_is_an_error_of_names_on_this_one(
    text: str, system: str, name: str
) -> None:
    error = os_error_from_text(text)
    assert type(error) is socket.gaierror
    assert error.errno == getattr(socket, name)


@pytest.mark.parametrize("text", ["[SSL: WRONG_VERSION_NUMBER] wrong version", "[SYS] unknown error (_ssl.c:2580)"])
def test_a_failure_of_tls_is_an_error_of_ssl(text: str) -> None:
    error = os_error_from_text(text)
    assert (type(error), str(error)) == (ssl.SSLError, text)


def test_a_file_that_was_not_found_is_no_name_that_was_not_found() -> None:
    assert type(os_error_from_text("[Errno 2] No such file or directory")) is FileNotFoundError


def _ask_nobody(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    with contextlib.closing(connection):
        connection.request("POST", "/v1/chat/completions", b"{}", {"content-type": "application/json"})
        connection.getresponse()


def _ask_nobody_async(port: int) -> None:
    async def ask() -> None:
        async with aiohttp.ClientSession() as session:
            await session.post(f"http://127.0.0.1:{port}/v1/chat/completions", json={})

    anyio.run(ask)


def test_a_cassette_of_macos_replays_a_refused_connection(root: Path) -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))  # and nobody listens
        port = unheard.getsockname()[1]
        with aquila.use_cassette("x", transport="record", upstream="live"), pytest.raises(ConnectionRefusedError):
            _ask_nobody(port)
    path = root / "x.yaml"
    written = path.read_text("utf-8")
    of_macos = re.sub(r"\[Errno \d+\] Connection refused", "[Errno 61] Connection refused", written)
    assert "[Errno 61] Connection refused" in of_macos
    path.write_text(of_macos, "utf-8")
    with aquila.use_cassette("x", transport="replay"), pytest.raises(ConnectionRefusedError) as refused:
        _ask_nobody(port)
    assert refused.value.errno == errno.ECONNREFUSED
    with aquila.use_cassette("x", transport="replay"), pytest.raises(aiohttp.ClientConnectorError) as seen:
        _ask_nobody_async(port)
    assert isinstance(seen.value.os_error, ConnectionRefusedError)
