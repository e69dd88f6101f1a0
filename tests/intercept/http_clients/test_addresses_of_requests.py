"""The host and the path of a request are read correctly from the arguments of the patched methods."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

import aquila
from aquila.cassettes.model import Cassette, Interaction, RecordedChunk, RecordedRequest, RecordedResponse
from aquila.cassettes.storage.cassette_files import save_cassette
from tests.support.http_server import LoopbackServer

WAYS = """
    import requests, urllib.request, urllib3

    WAYS = [
        lambda url: requests.get(url).status_code,
        lambda url: urllib3.PoolManager().request("GET", url).status,
        lambda url: urllib.request.urlopen(url).status,
    ]
    """


class _Server(LoopbackServer):
    def __init__(self, host: str) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, 0), _Handler)


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(params=["127.0.0.1", "::1"])
def address(request: pytest.FixtureRequest) -> Iterator[str]:
    """A server of this machine, without a cassette."""
    host = request.param
    try:
        server = _Server(host)
    except OSError:
        pytest.skip(f"this machine has no {host}")
    with server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://{f'[{host}]' if ':' in host else host}:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_server_of_this_machine_is_reached_by_any_address(address: str, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        f"""{WAYS}
    def test_without_a_cassette():
        assert [way({address!r}) for way in WAYS] == [204] * 3

    def test_with_a_cassette(aquila_cassette):
        assert [way({address!r}) for way in WAYS] == [204] * 3
        """
    )
    pytester.runpytest_inprocess().assert_outcomes(passed=2)


def test_a_server_is_recorded_and_replayed_by_any_address(address: str, pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\naquila_loopback = all\n")
    pytester.makepyfile(
        f"""{WAYS}
    import pytest

    @pytest.mark.parametrize("number", range(3))
    def test_it(number, aquila_cassette):
        assert WAYS[number]({address!r}) == 204
        """
    )
    for options in (["--aquila-record"], []):
        pytester.runpytest_inprocess(*options).assert_outcomes(passed=3)


@pytest.mark.parametrize("path", ["/https://example.org/page", "/read?page=https://example.org"])
def test_a_path_with_a_url_in_it_is_a_path(path: str, root: Path) -> None:
    """As a reader of web pages takes it."""
    request = RecordedRequest("GET", f"http://reader.invalid{path}")
    answer = Interaction(request, RecordedResponse(200, chunks=(RecordedChunk(b"read", 0),)))
    save_cassette(root / "x.yaml", Cassette.from_interactions([answer]))
    with aquila.use_cassette("x"):
        assert requests.get(request.url).text == "read"


@pytest.mark.parametrize("method", ["get", "ws_connect"])
@pytest.mark.parametrize("url", ["http://:/", "http://example.org:port/", "http://\u2061owhefopw.com"])
def test_what_is_no_url_is_refused_by_aiohttp_in_its_own_words(
    url: str, method: str, pytester: pytest.Pytester
) -> None:
    pytester.makepyfile(
        f"""
        import asyncio

        import aiohttp
        import pytest

        async def ask():
            async with aiohttp.ClientSession() as session:
                await session.{method}({url!r})

        def test_it():
            with pytest.raises(aiohttp.InvalidURL):
                asyncio.run(ask())
        """
    )
    pytester.runpytest_inprocess().assert_outcomes(passed=1)
