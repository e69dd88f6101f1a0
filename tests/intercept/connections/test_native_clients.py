"""Clients with sockets of their own are refused where they are asked to connect, by whatever name and in any call."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.guarded import GuardedRun
from tests.support.upstream import Upstream

WAYS = {
    "pycurl_easy": """
        import pycurl
        curl = pycurl.Curl()
        curl.setopt(curl.URL, URL)
        curl.setopt(curl.POSTFIELDS, "{}")
        curl.setopt(curl.WRITEFUNCTION, len)
        curl.perform()
        """,
    "pycurl_copied": """
        import pycurl
        curl = pycurl.Curl()
        curl.setopt(curl.URL, URL.encode())
        curl.duphandle().perform_rs()
        """,
    "pycurl_without_scheme": """
        import pycurl
        curl = pycurl.Curl()
        curl.setopt(curl.URL, URL.partition("://")[2] + "?page=https://example.org")
        curl.setopt(curl.WRITEFUNCTION, len)
        curl.perform()
        """,
    "pycurl_multi": """
        import pycurl
        curl, multi = pycurl.Curl(), pycurl.CurlMulti()
        curl.setopt(curl.URL, URL)
        curl.setopt(curl.WRITEFUNCTION, len)
        multi.add_handle(curl)
        while multi.perform()[1]:
            multi.select(1)
        multi.remove_handle(curl)
        """,
    "curl_cffi_easy": """
        import curl_cffi
        curl = curl_cffi.Curl()
        curl.setopt(curl_cffi.CurlOpt.URL, URL.encode())
        curl.setopt(curl_cffi.CurlOpt.WRITEFUNCTION, len)
        curl.perform()
        """,
    "curl_cffi_copied": """
        import curl_cffi
        curl = curl_cffi.Curl()
        curl.setopt(curl_cffi.CurlOpt.URL, URL.encode())
        curl.setopt(curl_cffi.CurlOpt.WRITEFUNCTION, len)
        copy = curl.duphandle()
        copy.setopt(curl_cffi.CurlOpt.WRITEFUNCTION, len)
        copy.perform()
        """,
    "curl_cffi_session": """
        import curl_cffi
        with curl_cffi.Session() as session:
            session.post(URL, data="{}", timeout=60)
        """,
    "curl_cffi_async": """
        import asyncio, curl_cffi
        async def go():
            async with curl_cffi.AsyncSession() as session:
                await session.post(URL, data="{}", timeout=60)
        asyncio.run(go())
        """,
    "uvloop_stream": """
        import asyncio, uvloop
        async def go():
            reader, writer = await asyncio.open_connection(HOST, PORT)
            writer.write(b"POST / HTTP/1.1\\r\\nconnection: close\\r\\n\\r\\n")
            await reader.read()
            writer.close()
        uvloop.run(go())
        """,
    "uvloop_socket": """
        import asyncio, socket, uvloop
        async def go():
            loop = asyncio.get_running_loop()
            with socket.socket() as end:
                end.setblocking(False)
                await loop.sock_connect(end, (HOST, PORT))
                await loop.sock_sendall(end, b"POST / HTTP/1.1\\r\\nconnection: close\\r\\n\\r\\n")
                await loop.sock_recv(end, 10)
        uvloop.run(go())
        """,
    "uvloop_names": """
        import asyncio, uvloop
        async def go():
            await asyncio.get_running_loop().getaddrinfo(HOST, PORT)
        uvloop.run(go())
        """,
    "uvloop_datagrams": """
        import asyncio, uvloop
        async def go():
            loop = asyncio.get_running_loop()
            transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=(HOST, PORT))
            transport.close()
            await asyncio.sleep(0)
        uvloop.run(go())
        """,
    "proactor_stream": """
        import asyncio
        async def go():
            reader, writer = await asyncio.open_connection(HOST, PORT)
            writer.write(b"POST / HTTP/1.1\\r\\nconnection: close\\r\\n\\r\\n")
            await reader.read()
            writer.close()
        with asyncio.Runner(loop_factory=proactor.ProactorEventLoop) as runner:
            runner.run(go())
        """,
    "proactor_datagrams": """
        import asyncio, socket
        async def go():
            with socket.socket(type=socket.SOCK_DGRAM) as end:
                await asyncio.get_running_loop().sock_sendto(end, b"x", (HOST, PORT))
        with asyncio.Runner(loop_factory=proactor.ProactorEventLoop) as runner:
            runner.run(go())
        """,
    "gevent_socket": """
        import gevent.socket
        with gevent.socket.create_connection((HOST, PORT)) as end:
            end.sendall(b"POST / HTTP/1.1\\r\\nconnection: close\\r\\n\\r\\n")
            end.recv(10)
        """,
    "gevent_names": """
        import gevent.socket
        gevent.socket.getaddrinfo(HOST, PORT)
        """,
    "socks": """
        import socks
        with socks.socksocket() as end:
            end.connect((HOST, PORT))
            end.sendall(b"POST / HTTP/1.1\\r\\nconnection: close\\r\\n\\r\\n")
            end.recv(10)
        """,
}
"""Ways to make a request, as code that connects to HOST and PORT, or to URL."""

PREAMBLE = f"""
import asyncio, contextlib, grpc, grpc.aio, pycares, pytest, socks, sys
from aquila.errors import LiveCallRefused

sys.path.append({str(Path(__file__).parents[3])!r})
from tests.support import windows_events

ways.proactor = windows_events.load()
"""


Run = Callable[[str], pytest.RunResult]


@pytest.fixture
def run(pytester: pytest.Pytester, provider: Upstream) -> Run:
    """Run in a process of its own: some of these libraries take others' places for good."""
    guarded = GuardedRun(pytester, provider, WAYS)
    return lambda tests: guarded(PREAMBLE + textwrap.dedent(tests), subprocess=True)


@pytest.mark.slow
def test_none_reaches_a_provider(run: Run, provider: Upstream) -> None:
    result = run(
        f"""
        @pytest.mark.parametrize("way", {sorted(WAYS)})
        def test_it(way):
            with pytest.raises(LiveCallRefused, match="127.0.0.1"):
                getattr(ways, way)()
        """
    )
    result.assert_outcomes(passed=len(WAYS))
    assert provider.requests == []


@pytest.mark.slow
def test_each_reaches_it_in_a_live_test(run: Run, provider: Upstream) -> None:
    result = run(
        f"""
        @pytest.mark.aquila_live
        @pytest.mark.parametrize("way", {sorted(WAYS)})
        def test_it(way):
            getattr(ways, way)()
        """
    )
    result.assert_outcomes(passed=len(WAYS))
    without_a_request = [name for name in WAYS if name.endswith(("_names", "_datagrams"))]
    assert len(provider.requests) == len(WAYS) - len(without_a_request)


@pytest.mark.slow
def test_a_name_is_refused_before_anything_resolves_it(run: Run) -> None:
    result = run(
        """
        @pytest.mark.parametrize("ask", [
            lambda channel: channel.getaddrinfo("api.openai.com", 443, callback=print),
            lambda channel: channel.query("API.OpenAI.com.", pycares.QUERY_TYPE_A, callback=print),
            lambda channel: channel.search("api.openai.com", pycares.QUERY_TYPE_A, callback=print),
        ])
        def test_cares(ask):
            with contextlib.closing(pycares.Channel()) as channel, pytest.raises(LiveCallRefused):
                ask(channel)

        @pytest.mark.parametrize("connect", [socks.socksocket.connect, socks.socksocket.connect_ex])
        def test_a_proxy_is_told_no_name(connect):
            with socks.socksocket() as end:
                end.set_proxy(socks.SOCKS5, "127.0.0.1", ways.PORT)
                with pytest.raises(LiveCallRefused, match="api.openai.com:80"):
                    connect(end, ("api.openai.com", 80))

        def test_a_path_of_models_is_refused_on_any_host():
            import pycurl
            curl = pycurl.Curl()
            curl.setopt(curl.URL, "llm.corp.example/v1/chat/completions")
            with pytest.raises(LiveCallRefused):
                curl.perform()
        """
    )
    result.assert_outcomes(passed=6)


@pytest.mark.slow
def test_grpc_is_refused_when_it_calls_and_not_when_a_channel_is_made(run: Run) -> None:
    result = run(
        """
        TARGETS = [
            "api.openai.com", "api.openai.com:443", "dns:///api.openai.com:443", "dns://192.0.2.1/api.openai.com",
            "dns:api.openai.com", f"127.0.0.1:{ways.PORT}", f"ipv4:192.0.2.1:443,127.0.0.1:{ways.PORT}",
            f"ipv6:[::ffff:127.0.0.1]:{ways.PORT}",
        ]
        KINDS = ["unary_unary", "unary_stream", "stream_unary", "stream_stream"]

        @pytest.mark.parametrize("target", TARGETS)
        @pytest.mark.parametrize("secure", [False, True])
        def test_channel(target, secure):
            credentials = [grpc.ssl_channel_credentials()] if secure else []
            make = grpc.secure_channel if secure else grpc.insecure_channel
            with make(target, *credentials) as channel:
                assert isinstance(channel, grpc.Channel)
                channel.subscribe(print)
                for kind in KINDS:
                    call = getattr(channel, kind)("/service/Method")
                    for way in (call, getattr(call, "with_call", call), getattr(call, "future", call)):
                        with pytest.raises(LiveCallRefused):
                            way(iter([b""]) if kind.startswith("stream") else b"")
                with pytest.raises(LiveCallRefused):
                    grpc.channel_ready_future(channel)

        @pytest.mark.parametrize("target", TARGETS)
        @pytest.mark.parametrize("secure", [False, True])
        def test_channel_of_a_loop(target, secure):
            async def go():
                credentials = [grpc.ssl_channel_credentials()] if secure else []
                make = grpc.aio.secure_channel if secure else grpc.aio.insecure_channel
                async with make(target, *credentials) as channel:
                    assert isinstance(channel, grpc.aio.Channel)
                    channel.get_state()
                    for kind in KINDS:
                        with pytest.raises(LiveCallRefused):
                            getattr(channel, kind)("/service/Method")(b"")
                    with pytest.raises(LiveCallRefused):
                        await channel.channel_ready()
            asyncio.run(go())

        @pytest.mark.aquila_live
        def test_a_live_test():
            with grpc.insecure_channel(f"127.0.0.1:{ways.PORT}") as channel, pytest.raises(grpc.RpcError):
                channel.unary_unary("/service/Method")(b"", timeout=10)

        def test_another_server():
            with grpc.insecure_channel("127.0.0.1:1") as channel, pytest.raises(grpc.RpcError):
                channel.unary_unary("/service/Method")(b"", timeout=10)
            with grpc.insecure_channel("unix:/nowhere") as channel, pytest.raises(grpc.RpcError):
                channel.unary_unary("/service/Method")(b"", timeout=10)
        """
    )
    result.assert_outcomes(passed=34)


@pytest.mark.slow
def test_gevent_in_the_place_of_the_standard_library_is_guarded_all_the_same(run: Run, provider: Upstream) -> None:
    result = run(
        """
        import gevent.monkey
        gevent.monkey.patch_all()  # within the run, over the guard
        import socket, ssl, urllib.request

        def test_it():
            with pytest.raises(LiveCallRefused):
                urllib.request.urlopen(ways.URL, data=b"{}")
            with pytest.raises(LiveCallRefused):
                socket.create_connection((ways.HOST, ways.PORT))
            with pytest.raises(LiveCallRefused):
                socket.getaddrinfo("api.openai.com", 443)
            with socket.socket() as end, pytest.raises(LiveCallRefused):
                ssl.create_default_context().wrap_socket(end, server_hostname="api.openai.com")
        """
    )
    result.assert_outcomes(passed=1)
    assert provider.requests == []


@pytest.mark.slow
def test_within_a_cassette_the_client_is_named(run: Run, provider: Upstream) -> None:
    result = run(
        """
        def test_it(aquila_cassette):
            with pytest.raises(LiveCallRefused, match=r"can answer its client \\(pycurl, used by ways\\)") as one:
                ways.pycurl_easy()
            assert "`aquila serve --cassette NAME`" in str(one.value)
            with pytest.raises(LiveCallRefused, match=r"its client \\(curl_cffi, used by ways\\)"):
                ways.curl_cffi_session()

        def test_what_serve_does_not_take_is_told_something_else(aquila_cassette):
            with grpc.insecure_channel(f"127.0.0.1:{ways.PORT}") as channel:
                with pytest.raises(LiveCallRefused, match=r"its client \\(grpc, used by test_it\\)") as refused:
                    channel.unary_unary("/service/Method")(b"", timeout=1)
            assert "ask by HTTP/1.1" in str(refused.value)
            assert "--cassette" not in str(refused.value)
        """
    )
    result.assert_outcomes(passed=2)
    assert provider.requests == []
