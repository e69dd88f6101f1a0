"""In a run of pytest: what is recorded and replayed under a provider's real name, and what never leaves."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any

import pytest

import tests.support.preloaded  # noqa: F401
from tests.support.forgiving import FORGIVING
from tests.support.web_sockets import WebSocketProvider, web_socket_provider

HOST = "api.openai.com"
COUNT = 5  # of the ways to talk below

WAYS = """
import asyncio
from websockets.asyncio.client import connect as connect_in_loop
from websockets.sync.client import connect as connect_in_thread

URL = "wss://api.openai.com/v1/realtime?model=m"
HEADERS = {"Authorization": "Bearer sk-proj-a1B2a1B2a1B2a1B2a1B2"}

def in_thread(said="hi"):
    with connect_in_thread(URL, additional_headers=HEADERS) as connection:
        connection.send(said)
        return connection.recv()

def in_loop(said="hi"):
    async def go():
        async with connect_in_loop(URL, additional_headers=HEADERS) as connection:
            await connection.send(said)
            return await connection.recv()
    return asyncio.run(go())

def by_aiohttp(said="hi"):
    import aiohttp
    async def go():
        async with aiohttp.ClientSession() as session, session.ws_connect(URL, headers=HEADERS) as connection:
            await connection.send_str(said)
            return await connection.receive_str()
    return asyncio.run(go())

def by_websocket_client(said="hi"):
    import websocket
    connection = websocket.create_connection(URL, header=HEADERS)
    try:
        connection.send(said)
        return connection.recv()
    finally:
        connection.close()

def by_httpx_ws(said="hi"):
    import httpx_ws
    with httpx_ws.connect_ws(URL, headers=dict(HEADERS)) as connection:
        connection.send_text(said)
        return connection.receive_text()

NAMES = ["in_thread", "in_loop", "by_aiohttp", "by_websocket_client", "by_httpx_ws"]
"""


def echo(connection: Any) -> None:
    while True:
        connection.send(connection.recv(60))


@pytest.fixture
def provider() -> Iterator[WebSocketProvider]:
    with web_socket_provider(HOST, speak=echo) as running:
        yield running


@pytest.fixture
def run(pytester: pytest.Pytester) -> Any:
    pytester.makepyfile(ways=WAYS, forgiving=FORGIVING)
    pytester.syspathinsert()

    def start(tests: str, *arguments: str) -> pytest.RunResult:
        pytester.makepyfile(test_it=f"import pytest\nimport ways\n{textwrap.dedent(tests)}")
        return pytester.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:xdist", *arguments)

    return start


TALKING = """
    @pytest.mark.parametrize("way", ways.NAMES)
    def test_it(way, aquila_cassette):
        assert getattr(ways, way)() == "hi"
        assert aquila_cassette.all_played or aquila_cassette.recording
    """


@pytest.mark.slow
def test_a_conversation_is_recorded_over_tls_and_replayed_without_the_provider(run: Any) -> None:
    test = TALKING.replace("        assert aquila_cassette.all_played or aquila_cassette.recording\n", "")
    with web_socket_provider(HOST, speak=echo) as provider:
        run(test, "--aquila-record").assert_outcomes(passed=COUNT)
        assert [headers["host"] for headers in provider.headers] == [HOST] * COUNT
        assert [headers["authorization"] for headers in provider.headers] == [
            "Bearer sk-proj-a1B2a1B2a1B2a1B2a1B2"
        ] * COUNT
    run(test).assert_outcomes(passed=COUNT)


def test_without_a_cassette_nothing_leaves_and_the_refusal_names_the_conversation(
    run: Any, provider: WebSocketProvider
) -> None:
    result = run(
        """
        @pytest.mark.parametrize("way", ways.NAMES)
        def test_it(way):
            getattr(ways, way)()
        """
    )
    result.assert_outcomes(failed=COUNT)
    result.stdout.fnmatch_lines(
        ["*LiveCallRefused: GET wss://api.openai.com/v1/realtime* was refused: nothing in this run asks for the *"]
    )
    assert "sk-proj" not in result.stdout.str()
    assert provider.paths == []


def test_a_transport_that_cannot_answer_a_conversation_refuses_it(run: Any, provider: WebSocketProvider) -> None:
    result = run(TALKING, "--aquila-transport=local")
    result.assert_outcomes(failed=COUNT)
    result.stdout.fnmatch_lines(
        ["*LiveCallRefused: GET wss://api.openai.com/*: aquila_transport is 'local', which answers no WebSockets*"]
    )
    assert provider.paths == []


def test_a_replay_asks_nobody_for_what_is_not_recorded(run: Any, provider: WebSocketProvider) -> None:
    result = run(TALKING)
    result.assert_outcomes(failed=COUNT)
    result.stdout.fnmatch_lines(["*CassetteMiss*nothing is recorded yet*"])
    assert provider.paths == []


def test_a_live_test_reaches_the_provider(run: Any, provider: WebSocketProvider) -> None:
    run(
        """
        @pytest.mark.aquila_live
        @pytest.mark.parametrize("way", ways.NAMES)
        def test_it(way):
            assert getattr(ways, way)() == "hi"
        """
    ).assert_outcomes(passed=COUNT)
    assert len(provider.paths) == COUNT


@pytest.mark.slow
def test_a_changed_message_fails_the_test_also_where_the_program_swallows_it(
    run: Any, provider: WebSocketProvider
) -> None:
    recorded = """
        @pytest.mark.parametrize("way", ways.NAMES)
        def test_it(way, aquila_cassette):
            ways_out = getattr(ways, way)
            try:
                ways_out("hi")
            except Exception:
                pass
        """
    run(recorded, "--aquila-record").assert_outcomes(passed=COUNT)
    result = run(recorded.replace('"hi"', '"ho"'))
    result.assert_outcomes(failed=COUNT)
    result.stdout.fnmatch_lines(
        ["*body differs from message 1 of 1 that the client had sent in test_it/*", "*--aquila-record*"]
    )


def test_a_protocol_that_no_script_speaks_is_refused(run: Any, provider: WebSocketProvider) -> None:
    result = run(
        """
        from websockets.sync.client import connect

        def test_it(aquila_script):
            connect("wss://api.openai.com/sk-proj-aB3dE5gH7jK9mN1pQ3rS5tU7vW9xY1zA3bC5/live")
        """
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*GET wss://api.openai.com/*/live was refused: a script answers here*/responses*"])
    result.stdout.no_fnmatch_line("E *aB3dE5gH7jK9*")
    assert provider.paths == []


def test_a_conversation_that_drifts_in_its_middle_is_recorded_anew_as_a_whole(
    run: Any, provider: WebSocketProvider, pytester: pytest.Pytester
) -> None:
    test = """
        from websockets.sync.client import connect

        def test_it(aquila_cassette):
            with connect(ways.URL) as connection:
                for said in ["one", "two", "three"]:
                    connection.send(said)
                    assert connection.recv() == said
        """
    run(test, "--aquila-record").assert_outcomes(passed=1)
    result = run(test.replace('"two"', '"other"'), "--aquila-record")
    result.assert_outcomes(passed=1)
    assert len(provider.paths) == 2
    run(test.replace('"two"', '"other"')).assert_outcomes(passed=1)
    assert len(provider.paths) == 2
    (cassette,) = (pytester.path / "cassettes").rglob("*.yaml")
    text = cassette.read_text(encoding="utf-8")
    assert "other" in text
    assert "two" not in text
