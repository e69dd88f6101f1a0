"""Recording from a provider under its real name, over TLS, while the guard of the run is in force."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator

import pytest

import tests.support.preloaded  # noqa: F401
from tests.support.forgiving import FORGIVING
from tests.support.real_hosts import real_hosts
from tests.support.slow import slow_but
from tests.support.upstream import Answer, Upstream, upstream

HOST = "api.openai.com"
REPLY = b'{"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": []}'

WAYS = {
    "httpx2": """
        import httpx2
        with httpx2.Client() as client:
            return client.post(URL, json=BODY).json()
        """,
    "httpx2_async": """
        import asyncio, httpx2
        async def go():
            async with httpx2.AsyncClient() as client:
                return (await client.post(URL, json=BODY)).json()
        return asyncio.run(go())
        """,
    "httpx": """
        import httpx
        with httpx.Client() as client:
            return client.post(URL, json=BODY).json()
        """,
    "httpx_async": """
        import asyncio, httpx
        async def go():
            async with httpx.AsyncClient() as client:
                return (await client.post(URL, json=BODY)).json()
        return asyncio.run(go())
        """,
    "openai": """
        import openai
        with openai.OpenAI(api_key="x", max_retries=0) as client:
            return client.chat.completions.create(**BODY).to_dict()
        """,
    "openai_async": """
        import asyncio, openai
        async def go():
            async with openai.AsyncOpenAI(api_key="x", max_retries=0) as client:
                return (await client.chat.completions.create(**BODY)).to_dict()
        return asyncio.run(go())
        """,
    "requests": """
        import requests
        return requests.post(URL, json=BODY, timeout=60).json()
        """,
    "urllib3": """
        import urllib3
        return urllib3.request("POST", URL, json=BODY, retries=False).json()
        """,
    "httplib2": """
        import httplib2
        return json.loads(httplib2.Http().request(URL, "POST", body=json.dumps(BODY))[1])
        """,
    "urllib_request": """
        import urllib.request
        headers = {"content-type": "application/json"}
        request = urllib.request.Request(URL, data=json.dumps(BODY).encode(), headers=headers)
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)
        """,
    "http_client": """
        import contextlib, http.client
        with contextlib.closing(http.client.HTTPSConnection("api.openai.com")) as connection:
            headers = {"content-type": "application/json"}
            connection.request("POST", "/v1/chat/completions", json.dumps(BODY), headers)
            return json.load(connection.getresponse())
        """,
    "aiohttp": """
        import asyncio, aiohttp
        async def go():
            async with aiohttp.ClientSession() as session, session.post(URL, json=BODY) as answer:
                return await answer.json(content_type=None)
        return asyncio.run(go())
        """,
}
"""Ways to ask, as code. Each returns the answer."""


@pytest.fixture
def provider() -> Iterator[Upstream]:
    with real_hosts(HOST, script=lambda path, body: Answer(chunks=[REPLY])) as running:
        yield running


Run = Callable[..., pytest.RunResult]


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a file of tests in which ``URL`` is the provider's and each way to ask is a function."""
    ways = [
        "import json",
        f"URL = 'https://{HOST}/v1/chat/completions'",
        "BODY = {'model': 'm', 'messages': [{'role': 'user', 'content': 'hi'}]}",
        f"NAMES = {sorted(WAYS)}",
    ]
    for name, code in WAYS.items():
        ways += [f"def {name}():", textwrap.indent(textwrap.dedent(code), "    ")]
    pytester.makepyfile(ways="\n".join(ways))
    pytester.syspathinsert()

    def start(tests: str, *arguments: str, subprocess: bool = False) -> pytest.RunResult:
        pytester.makepyfile(forgiving=FORGIVING, test_it=f"import pytest\nimport ways\n{textwrap.dedent(tests)}")
        begin = pytester.runpytest_subprocess if subprocess else pytester.runpytest_inprocess
        return begin("-p", "no:cacheprovider", "-p", "no:xdist", "-p", "forgiving", *arguments)

    return start


ASKING = """
    @pytest.mark.parametrize("way", ways.NAMES)
    def test_it(way, aquila_cassette):
        assert getattr(ways, way)()["id"] == "c"
    """


KEEPING_OPEN = """
    import http.client, httplib2, httpx2, requests, socket, urllib3

    @pytest.fixture(autouse=True)
    def provider_elsewhere(monkeypatch):
        monkeypatch.setattr(socket.socket, "getpeername", lambda self: ("192.0.2.1", 443))

    connection = http.client.HTTPSConnection("api.openai.com")
    pool, session, other, client = urllib3.PoolManager(), requests.Session(), httplib2.Http(), httpx2.Client()

    def by_connection():
        connection.request("POST", "/v1/chat/completions", "{}")
        connection.getresponse().read()

    WAYS = {
        "http.client": by_connection,
        "urllib3": lambda: pool.request("POST", URL, body=b"{}", retries=False),
        "requests": lambda: session.post(URL, data=b"{}"),
        "httplib2": lambda: other.request(URL, "POST", body=b"{}"),
        "httpx2": lambda: client.post(URL, json={}),
    }

    @pytest.mark.aquila_live
    @pytest.mark.parametrize("way", WAYS)
    def test_live(way):
        WAYS[way]()

    @pytest.mark.parametrize("way", WAYS)
    def test_other(way):
        with pytest.raises(BaseException) as refused:
            WAYS[way]()
        assert type(refused.value).__name__ == "LiveCallRefused"

    @pytest.mark.aquila_live
    @pytest.mark.parametrize("way", WAYS)
    def test_live_again(way):
        WAYS[way]()
    """


def test_a_connection_that_a_live_test_leaves_open_is_no_way_for_the_others(run: Run, provider: Upstream) -> None:
    provider.script = lambda path, body: Answer(chunks=[REPLY], keeps_open=True)
    run("from ways import URL\n" + textwrap.dedent(KEEPING_OPEN)).assert_outcomes(passed=15)
    assert len(provider.requests) == 10


def test_a_connection_that_a_program_leads_to_a_server_here_stays_open(run: Run) -> None:
    """The guard has seen where it leads, and its name alone says nothing."""
    with upstream(lambda path, body: Answer(chunks=[REPLY], keeps_open=True)) as server:
        leading = f"""
            import http.client, socket

            class Led(http.client.HTTPConnection):
                def connect(self):
                    self.sock = socket.create_connection(("127.0.0.1", {server.url.rpartition(":")[2]}))

            connection = Led("api.openai.com")

            @pytest.mark.parametrize("number", range(2))
            def test_it(number):
                connection.request("POST", "/v1/chat/completions", "{{}}")
                connection.getresponse().read()
            """
        run(leading).assert_outcomes(passed=2)
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    "subprocess", slow_but([False], [False, True]), ids=["in this process", "in a process of its own"]
)
@pytest.mark.slow
def test_every_client_records_and_then_replays_without_the_provider(subprocess: bool, run: Run) -> None:
    with real_hosts(HOST, script=lambda path, body: Answer(chunks=[REPLY])) as provider:
        run(ASKING, "--aquila-record", subprocess=subprocess).assert_outcomes(passed=len(WAYS))
        assert len(provider.requests) == len(WAYS)
        assert {row["host"] for row in provider.headers} <= {HOST, f"{HOST}:443"}
    run(ASKING, subprocess=subprocess).assert_outcomes(passed=len(WAYS))
    assert len(provider.requests) == len(WAYS)


def test_a_live_test_reaches_the_provider_with_every_client(run: Run, provider: Upstream) -> None:
    result = run(
        """
        @pytest.mark.aquila_live
        @pytest.mark.parametrize("way", ways.NAMES)
        def test_it(way):
            assert getattr(ways, way)()["id"] == "c"
        """
    )
    result.assert_outcomes(passed=len(WAYS))
    assert len(provider.requests) == len(WAYS)


@pytest.mark.parametrize(
    "subprocess", slow_but([False], [False, True]), ids=["in this process", "in a process of its own"]
)
def test_what_nothing_asked_for_is_refused_with_every_client(subprocess: bool, run: Run, provider: Upstream) -> None:
    result = run(
        """
        @pytest.mark.parametrize("way", ways.NAMES)
        def test_it(way):
            with pytest.raises(BaseException) as caught:
                getattr(ways, way)()
            error = caught.value
            while error.__cause__ is not None:
                error = error.__cause__
            assert type(error).__name__ == "LiveCallRefused", repr(error)
        """,
        subprocess=subprocess,
    )
    result.assert_outcomes(passed=len(WAYS))
    assert provider.requests == []


def test_while_a_request_is_recorded_an_unasked_one_to_the_same_host_is_refused(run: Run, provider: Upstream) -> None:
    """By name, by address, and in the handshake; in another thread, and in an executor that starts it too late."""
    result = run(
        """
        import asyncio, concurrent.futures, socket, ssl, threading
        import aiohttp
        from aquila.errors import LiveCallRefused

        def test_it(aquila_cassette):
            refused = []

            def connect():
                with socket.socket() as end:
                    end.connect(("198.51.100.1", 443))

            def unasked():
                context = ssl.create_default_context()
                for attempt in (
                    lambda: socket.getaddrinfo("api.openai.com", 443, type=socket.SOCK_DGRAM),
                    connect,
                    lambda: context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="api.openai.com"),
                ):
                    try:
                        attempt()
                    except LiveCallRefused:
                        refused.append(attempt)

            with concurrent.futures.ThreadPoolExecutor(1) as pool:
                async def meanwhile(session, context, params):
                    thread = threading.Thread(target=unasked)
                    thread.start()
                    await asyncio.to_thread(thread.join)
                    loop = asyncio.get_running_loop()
                    pending.append(loop.run_in_executor(pool, waiting))

                def waiting():
                    over.wait(60)
                    unasked()

                pending, over = [], threading.Event()

                async def go():
                    trace = aiohttp.TraceConfig()
                    trace.on_dns_resolvehost_end.append(meanwhile)
                    async with aiohttp.ClientSession(trace_configs=[trace]) as session:
                        async with session.post(ways.URL, json=ways.BODY) as answer:
                            assert (await answer.json(content_type=None))["id"] == "c"
                    assert len(refused) == 3
                    over.set()
                    await asyncio.gather(*pending)

                asyncio.run(go())
            # What was handed to an executor, and starts after the request has ended, has no permission any more.
            assert len(refused) == 6
        """,
        "--aquila-record",
    )
    result.assert_outcomes(passed=1)
    assert len(provider.requests) == 1


def test_a_guard_of_all_lets_a_recording_through_and_nothing_else(
    run: Run, pytester: pytest.Pytester, provider: Upstream
) -> None:
    pytester.makeini("[pytest]\naquila_guard = all\n")
    result = run(
        """
        import socket
        from aquila.errors import LiveCallRefused

        @pytest.mark.parametrize("way", ways.NAMES)
        def test_it(way, aquila_cassette):
            assert getattr(ways, way)()["id"] == "c"
            with pytest.raises(LiveCallRefused):
                socket.create_connection(("files.example", 443))
        """,
        "--aquila-record",
    )
    result.assert_outcomes(passed=len(WAYS))
    assert len(provider.requests) == len(WAYS)


RESOLVER = """
    import asyncio, socket
    import aiohttp, aiohttp.abc
    from aquila.errors import LiveCallRefused

    class Resolver(aiohttp.abc.AbstractResolver):
        async def resolve(self, host, port=0, family=socket.AF_INET):
            row = {"hostname": host, "host": "198.51.100.1", "port": port, "family": family, "proto": 0, "flags": 0}
            return [row]

        async def close(self):
            pass

    async def go():
        connector = aiohttp.TCPConnector(resolver=Resolver())
        async with aiohttp.ClientSession(connector=connector) as session:
            async with session.post(ways.URL, json=ways.BODY) as answer:
                return await answer.json(content_type=None)
    """


def test_a_resolver_that_asks_the_system_for_nothing_is_recorded_and_refused_alike(
    run: Run, provider: Upstream
) -> None:
    """c-ares, say, resolves names by itself: what is left to see is the connection and the handshake."""
    result = run(
        textwrap.dedent(RESOLVER)
        + textwrap.dedent(
            """
            def test_recorded(aquila_cassette):
                assert asyncio.run(go())["id"] == "c"

            def test_refused():
                with pytest.raises(LiveCallRefused):
                    asyncio.run(go())
            """
        ),
        "--aquila-record",
    )
    result.assert_outcomes(passed=2)
    assert len(provider.requests) == 1


SOCKETS = """
    import asyncio, socket

    def ask():
        socket.getaddrinfo("api.openai.com", 443, type=socket.SOCK_DGRAM)  # as for HTTP/3

    async def ask_async():
        await asyncio.get_running_loop().getaddrinfo("api.openai.com", 443, type=socket.SOCK_DGRAM)
    """


@pytest.mark.parametrize("call", ["ownsockets.ask()", "asyncio.run(ownsockets.ask_async())"])
@pytest.mark.parametrize("record", [True, False], ids=["recording", "replaying"])
def test_a_client_that_cannot_be_recorded_is_named_with_what_helps(
    call: str, record: bool, run: Run, pytester: pytest.Pytester, provider: Upstream
) -> None:
    pytester.makepyfile(ownsockets=textwrap.dedent(SOCKETS))
    pytester.makepyfile(framework="import asyncio, ownsockets\ndef ask():\n    " + call)
    result = run(
        """
        import framework

        def test_it(aquila_cassette):
            framework.ask()
        """,
        *(["--aquila-record"] if record else []),
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*a connection to api.openai.com:443 was refused: no cassette can answer its client (ownsockets, used by "
            "framework)",
            "*aquila serve --cassette NAME*",
        ]
    )
    assert "use the fixture aquila_cassette" not in result.stdout.str()
    assert provider.requests == []


def test_a_client_that_connects_in_a_task_of_its_own_is_refused_and_does_not_hang(run: Run, provider: Upstream) -> None:
    """tornado, say: its task hands on an exception, and nothing at all if something else ends it."""
    result = run(
        """
        import asyncio, socket
        from aquila.errors import LiveCallRefused

        async def connect(answer):
            try:
                await asyncio.open_connection("api.openai.com", 443, ssl=True, family=socket.AF_INET6)
            except Exception as error:
                answer.set_exception(error)

        async def go():
            answer = asyncio.get_running_loop().create_future()
            task = asyncio.create_task(connect(answer))
            await asyncio.wait([task])
            assert answer.done()
            await answer

        def test_it(aquila_cassette, aquila_refusals):
            with pytest.raises(LiveCallRefused, match="no cassette can answer its client"):
                asyncio.run(go())
            aquila_refusals.forget()
        """
    )
    result.assert_outcomes(passed=1)
