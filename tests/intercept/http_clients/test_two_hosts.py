"""Two hosts that are asked the same: each gets its own answer, with every client, and again in the next run."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator

import pytest

import tests.support.preloaded  # noqa: F401
from tests.support.real_hosts import real_hosts
from tests.support.upstream import Answer, Upstream, upstream

HOSTS = ("api.openai.com", "api.groq.com", "gateway.example", "data.example", "mirror.example")

ASK = """
    import asyncio, concurrent.futures, json, threading
    import aiohttp, httpx, httpx2, pytest, requests
    import aquila

    PATHS = {"model": "/v1/chat/completions", "data": "/data"}
    BODY = {"messages": [{"role": "user", "content": "hi"}]}

    def with_httpx2(url):
        return httpx2.post(url, json=BODY).json()

    def with_httpx(url):
        return httpx.post(url, json=BODY).json()

    def with_requests(url):
        return requests.post(url, json=BODY, timeout=60).json()

    def with_aiohttp(url):
        async def go():
            async with aiohttp.ClientSession() as session, session.post(url, json=BODY) as answer:
                return await answer.json(content_type=None)
        return asyncio.run(go())

    CLIENTS = [with_httpx2, with_httpx, with_requests, with_aiohttp]

    def ask(host, kind="model", client=with_httpx2):
        answer = client(f"https://{host}{PATHS[kind]}")
        return answer["host"]
    """


@pytest.fixture
def hosts() -> Iterator[Upstream]:
    """A server of all hosts whose answers say which was asked."""
    running: list[Upstream] = []

    def answer(path: str, body: bytes) -> Answer:
        return Answer(chunks=[b'{"host": "%s"}' % running[0].asked_host.encode()])

    with real_hosts(*HOSTS, script=answer) as server:
        running.append(server)
        yield server


def run(pytester: pytest.Pytester, tests: str, *arguments: str) -> pytest.RunResult:
    pytester.makepyfile(asking=textwrap.dedent(ASK), test_it="from asking import *\n" + textwrap.dedent(tests))
    pytester.syspathinsert()
    return pytester.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:xdist", *arguments)


@pytest.mark.slow
def test_each_host_gets_its_own_answer_with_every_client_in_any_order(
    pytester: pytest.Pytester, hosts: Upstream
) -> None:
    tests = """
        @pytest.mark.parametrize("client", CLIENTS)
        @pytest.mark.parametrize("kind", PATHS)
        def test_it(client, kind, aquila_cassette, request):
            names = ["api.openai.com", "api.groq.com"]
            if request.config.getoption("aquila_record") is None:
                names.reverse()
            for _ in range(2):
                for name in names:
                    assert ask(name, kind, client) == name
        """
    run(pytester, tests, "--aquila-record").assert_outcomes(passed=8)
    assert len(hosts.requests) == 32
    run(pytester, tests).assert_outcomes(passed=8)
    run(pytester, tests, "--aquila-record").assert_outcomes(passed=8)
    assert len(hosts.requests) == 32


@pytest.mark.slow
def test_threads_at_once_get_each_the_answer_of_their_host(pytester: pytest.Pytester, hosts: Upstream) -> None:
    tests = """
        def test_it(aquila_cassette):
            names = ["api.openai.com", "api.groq.com"] * 8
            gate = threading.Barrier(len(names))
            def go(name):
                gate.wait(60)
                return ask(name)
            with concurrent.futures.ThreadPoolExecutor(len(names)) as pool:
                assert list(pool.map(go, names)) == names
        """
    run(pytester, tests, "--aquila-record").assert_outcomes(passed=1)
    assert len(hosts.requests) == 16
    for _ in range(3):
        run(pytester, tests).assert_outcomes(passed=1)


@pytest.mark.slow
def test_what_a_proxy_answered_replays_for_the_provider_and_is_kept_by_a_recording_run(
    pytester: pytest.Pytester, hosts: Upstream
) -> None:
    proxied = 'def test_it(aquila_cassette):\n    assert ask("gateway.example") == "gateway.example"\n'
    direct = 'def test_it(aquila_cassette):\n    assert ask("api.openai.com") == "gateway.example"\n'
    run(pytester, proxied, "--aquila-record").assert_outcomes(passed=1)
    run(pytester, direct).assert_outcomes(passed=1)
    run(pytester, direct, "--aquila-record").assert_outcomes(passed=1)
    assert len(hosts.requests) == 1
    run(pytester, proxied).assert_outcomes(passed=1)


@pytest.mark.slow
def test_a_request_more_than_the_proxy_had_is_recorded_so_that_the_next_run_is_the_same(
    pytester: pytest.Pytester, hosts: Upstream
) -> None:
    proxied = 'def test_it(aquila_cassette):\n    ask("gateway.example")\n'
    twice = """
        def test_it(aquila_cassette):
            assert [ask("api.openai.com"), ask("api.openai.com")] == ["gateway.example", "api.openai.com"]
        """
    run(pytester, proxied, "--aquila-record").assert_outcomes(passed=1)
    result = run(pytester, twice)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*this is request number 2 of its kind, and * holds 1 recording of it*"])
    run(pytester, twice, "--aquila-record").assert_outcomes(passed=1)
    assert len(hosts.requests) == 2
    run(pytester, twice).assert_outcomes(passed=1)
    run(pytester, twice, "--aquila-record").assert_outcomes(passed=1)
    assert len(hosts.requests) == 2


def test_a_request_for_no_model_misses_on_another_host_and_is_told_that_only_the_host_differs(
    pytester: pytest.Pytester, hosts: Upstream
) -> None:
    run(pytester, 'def test_it(aquila_cassette):\n    ask("data.example", "data")\n', "--aquila-record")
    other = 'def test_it(aquila_cassette):\n    assert ask("mirror.example", "data") == "data.example"\n'
    result = run(pytester, other)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*host differs from recording 1 of *",
            "*requested  POST https://mirror.example/data*",
            "*host: recorded 'data.example', now 'mirror.example'*",
            "*aquila_match_on = -origin*",
        ]
    )
    run(pytester, other, "-o", "aquila_match_on=-origin").assert_outcomes(passed=1)
    run(pytester, other, "-o", "aquila_providers=mirror.example").assert_outcomes(passed=1)
    assert len(hosts.requests) == 1


def test_another_port_or_scheme_is_another_origin(pytester: pytest.Pytester, hosts: Upstream) -> None:
    run(pytester, 'def test_it(aquila_cassette):\n    ask("data.example", "data")\n', "--aquila-record")
    for other, difference in (
        ("https://data.example:8443", "*host: recorded 'data.example', now 'data.example:8443'*"),
        ("http://data.example", "*scheme: recorded 'https', now 'http'*"),
    ):
        result = run(pytester, f'def test_it(aquila_cassette):\n    with_httpx2("{other}/data")\n')
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines([difference])


def test_a_drift_of_the_host_is_reported_only_where_hosts_count(pytester: pytest.Pytester, hosts: Upstream) -> None:
    run(
        pytester,
        """
        def test_it(aquila_cassette):
            ask("gateway.example"), ask("data.example", "data")
        """,
        "--aquila-record",
    )
    result = run(
        pytester,
        """
        def test_it(aquila_cassette):
            ask("api.openai.com"), ask("mirror.example", "data")
        """,
        "--aquila-drift",
    )
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        ["aquila: drift: 1 test, 1 change", "1 test: host recorded 'data.example', now 'mirror.*"]
    )
    assert "openai" not in result.stdout.str().partition("drift:")[2]


VCRPY = """
version: 1
interactions:
{rows}
"""
VCRPY_ROW = """
- request:
    method: POST
    uri: https://{host}{path}
    body: '{{"messages": [{{"role": "user", "content": "hi"}}]}}'
    headers: {{content-type: [application/json]}}
  response:
    status: {{code: 200, message: OK}}
    headers: {{content-type: [application/json]}}
    body: {{string: '{{"host": "{host}"}}'}}
"""


def test_the_cassettes_of_vcrpy_answer_each_host_too(pytester: pytest.Pytester) -> None:
    rows = [(host, path) for host in ("api.openai.com", "api.groq.com") for path in ("/v1/chat/completions", "/data")]
    text = VCRPY.format(rows="".join(VCRPY_ROW.format(host=host, path=path) for host, path in rows))
    folder = pytester.mkdir("cassettes")
    (folder / "old.yaml").write_text(text)
    result = run(
        pytester,
        """
        @pytest.mark.parametrize("client", CLIENTS)
        @pytest.mark.aquila(cassette="old")
        def test_it(client):
            for kind in PATHS:
                for name in ("api.groq.com", "api.openai.com"):
                    assert ask(name, kind, client) == name

        @pytest.mark.aquila(cassette="old")
        def test_proxied():
            assert ask("gateway.example") == "api.openai.com"
        """,
    )
    result.assert_outcomes(passed=5)


@pytest.mark.slow
def test_a_query_parameter_that_a_marker_or_a_block_ignores_may_differ_with_every_client(
    pytester: pytest.Pytester, hosts: Upstream
) -> None:
    tests = """
        import time

        def signed():
            return f"https://data.example/file?X-Amz-Date={time.time_ns()}&part=1"

        @pytest.mark.parametrize("client", CLIENTS)
        @pytest.mark.aquila(ignore_query=["X-Amz-Date"])
        def test_marked(client):
            assert client(signed())["host"] == "data.example"

        @pytest.mark.parametrize("client", CLIENTS)
        def test_block(client):
            with aquila.use_cassette(client.__name__, ignore_query="X-Amz-*"):
                assert client(signed())["host"] == "data.example"
        """
    run(pytester, tests, "--aquila-record").assert_outcomes(passed=8)
    run(pytester, tests).assert_outcomes(passed=8)
    run(pytester, tests, "--aquila-record").assert_outcomes(passed=8)
    assert len(hosts.requests) == 8


def test_a_query_parameter_that_the_project_ignores_may_differ(pytester: pytest.Pytester, hosts: Upstream) -> None:
    pytester.makeini("[pytest]\naquila_ignore_query = X-Amz-Date\n    Expires\n")
    tests = 'def test_it(aquila_cassette):\n    with_httpx2("https://data.example/file?Expires={}&part={}")\n'
    run(pytester, tests.format(1, 1), "--aquila-record").assert_outcomes(passed=1)
    run(pytester, tests.format(2, 1)).assert_outcomes(passed=1)
    run(pytester, tests.format(1, 2)).assert_outcomes(failed=1)


LOCAL = """
    SERVER = {url!r}

    @pytest.mark.parametrize("client", CLIENTS)
    def test_it(client, aquila_cassette):
        for path in ("/shop/a%20b%252F?page=1", "/shop/orders"):
            assert client(SERVER + path)["path"] == path
    """


@pytest.fixture
def shop() -> Iterator[Upstream]:
    """A server on this machine whose answers say what was asked."""
    with upstream(lambda path, body: Answer(chunks=[json.dumps({"path": path}).encode()])) as server:
        yield server


@pytest.mark.slow
def test_what_was_recorded_of_this_machine_replays_without_a_setting(pytester: pytest.Pytester, shop: Upstream) -> None:
    tests = LOCAL.format(url=shop.url)
    run(pytester, tests, "--aquila-record", "-o", "aquila_loopback=all").assert_outcomes(passed=4)
    assert len(shop.requests) == 8
    run(pytester, tests).assert_outcomes(passed=4)
    run(pytester, tests, "--aquila-record").assert_outcomes(passed=4)
    assert len(shop.requests) == 8
    run(pytester, tests, "-o", "aquila_loopback=none").assert_outcomes(passed=4)
    assert len(shop.requests) == 16


@pytest.mark.slow
def test_what_a_cassette_does_not_hold_of_this_machine_is_let_through(
    pytester: pytest.Pytester, shop: Upstream
) -> None:
    run(pytester, LOCAL.format(url=shop.url), "--aquila-record", "-o", "aquila_loopback=all")
    asked = len(shop.requests)
    other = LOCAL.format(url=shop.url).replace("/shop", "/stock")
    run(pytester, other).assert_outcomes(passed=4)
    assert len(shop.requests) == asked + 8
    run(pytester, other, "--aquila-record").assert_outcomes(passed=4)
    assert len(shop.requests) == asked + 16


def test_a_request_to_a_recorded_url_of_this_machine_that_differs_is_a_miss(
    pytester: pytest.Pytester, shop: Upstream
) -> None:
    tests = LOCAL.format(url=shop.url)
    run(pytester, tests, "--aquila-record", "-o", "aquila_loopback=all")
    asked = len(shop.requests)
    result = run(pytester, tests.replace("page=1", "page=2"))
    result.assert_outcomes(failed=4)
    result.stdout.fnmatch_lines(["*query page: recorded '1', now '2'*"])
    assert len(shop.requests) == asked
