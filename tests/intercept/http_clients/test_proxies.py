"""What goes through a proxy of this machine is refused by what it asks for, not by the address of the proxy."""

from __future__ import annotations

import os
import sys
import urllib.request
from types import FrameType
from typing import Any

import httpx
import httpx2
import pytest

import aquila
import tests.support.preloaded  # noqa: F401
from tests.support.guarded import GuardedRun
from tests.support.upstream import Upstream

PROXIED = """
import http.client, os, urllib.parse, urllib.request
from aquila.errors import CassetteMiss, LiveCallRefused

PROXY = urllib.parse.urlsplit(URL)
ASKED = "http://api.openai.com/v1/chat/completions"

def by_http_client():
    connection = http.client.HTTPConnection(PROXY.hostname, PROXY.port)
    connection.request("POST", ASKED, "{}")
    return connection.getresponse().read()

def by_tunnel():
    connection = http.client.HTTPConnection(PROXY.hostname, PROXY.port)
    connection.set_tunnel("api.openai.com", 80)
    connection.request("POST", "/v1/chat/completions", "{}")
    return connection.getresponse().read()

def by_urllib():
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({"http": PROXY.geturl()}))
    return opener.open(ASKED, data=b"{}").read()

def by_urllib3():
    import urllib3
    return urllib3.ProxyManager(f"http://{PROXY.netloc}").request("POST", ASKED, body=b"{}").data

def by_requests():
    import requests
    return requests.post(ASKED, data=b"{}", proxies={"http": f"http://{PROXY.netloc}"}).content

def by_requests_with_socks():
    import requests
    return requests.post(ASKED, data=b"{}", proxies={"http": f"socks5h://{PROXY.netloc}"}).content

def by_httpx():
    import httpx
    with httpx.Client(proxy=f"http://{PROXY.netloc}") as client:
        return client.post(ASKED, content=b"{}").content

def by_httpx2():
    import httpx2
    with httpx2.Client(proxy=f"http://{PROXY.netloc}") as client:
        return client.post(ASKED, content=b"{}").content

def by_aiohttp():
    import aiohttp, asyncio
    async def go():
        async with aiohttp.ClientSession() as session:
            async with session.post(ASKED, data=b"{}", proxy=f"http://{PROXY.netloc}") as answer:
                return await answer.read()
    return asyncio.run(go())

def by_curl():
    import io, pycurl
    curl = pycurl.Curl()
    for option, value in ((curl.URL, ASKED), (curl.PROXY, f"http://{PROXY.netloc}"), (curl.POSTFIELDS, "{}")):
        curl.setopt(option, value)
    return curl.perform()

WAYS = [value for name, value in list(globals().items()) if name.startswith("by_")]
"""


@pytest.mark.parametrize("cassette", ["", "aquila_cassette"])
def test_what_goes_through_a_proxy_of_this_machine_is_refused_by_what_it_asks(
    cassette: str, run: GuardedRun, provider: Upstream
) -> None:
    forget = "aquila_cassette.forget_misses()" if cassette else ""
    result = run(
        PROXIED
        + f"""
@pytest.mark.parametrize("way", WAYS)
def test_it(way, {cassette}):
    with pytest.raises((LiveCallRefused, CassetteMiss)):
        way()
    {forget}
""",
        providers="",
    )
    result.assert_outcomes(passed=10)
    assert provider.requests == []


def test_a_live_test_goes_through_a_proxy(run: GuardedRun, provider: Upstream) -> None:
    result = run(
        PROXIED
        + """
@pytest.mark.aquila_live
@pytest.mark.parametrize("way", [way for way in WAYS if way not in (by_tunnel, by_requests_with_socks)])
def test_it(way):
    way()
""",
        providers="",
    )
    result.assert_outcomes(passed=8)
    assert [path for path, _ in provider.requests] == 8 * ["http://api.openai.com/v1/chat/completions"]


@pytest.fixture(params=[httpx2, httpx], ids=lambda library: library.__name__)
def library(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_a_client_takes_the_proxy_that_the_environment_names_when_it_is_made(
    library: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def proxies_of_client() -> dict[str, Any]:
        with library.Client(trust_env=True) as client:
            return {pattern.pattern: transport for pattern, transport in client._mounts.items()}

    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    with aquila.use_cassette("none"):
        assert proxies_of_client() == {}
        monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
        assert list(proxies_of_client()) == ["https://"]
        monkeypatch.setenv("HTTPS_PROXY", "")
        monkeypatch.setenv("no_proxy", "a.example")
        assert list(proxies_of_client()) == ["all://*a.example"]
        monkeypatch.setattr(os, "environ", {"ALL_PROXY": "http://proxy.example:3128"})
        assert list(proxies_of_client()) == ["all://"]


@pytest.mark.skipif(sys.platform in ("darwin", "win32"), reason="the system names proxies, too")
def test_the_environment_is_read_for_the_first_client_alone(library: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    readings: list[str] = []

    def note_call(frame: FrameType, event: str, argument: object) -> None:
        if event == "call" and frame.f_code is urllib.request.getproxies_environment.__code__:
            readings.append(event)

    monkeypatch.setenv("ANOTHER_VARIABLE", f"is new for {library.__name__}")
    for _ in range(2):  # blocks, each of which patches anew
        with aquila.use_cassette("none"):
            before = sys.getprofile()
            sys.setprofile(note_call)
            try:
                for _ in range(2):
                    library.Client().close()
            finally:
                sys.setprofile(before)
    assert len(readings) == 1
