"""The fixture ``aquila_server`` and a program that speaks to it over a WebSocket, in a run of pytest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.limits import with_a_limit_in_time
from tests.support.web_sockets import WebSocketProvider, web_socket_server

TEST = """
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

def talk(server, *messages):
    url = "ws" + server.base_url.removeprefix("http") + "/realtime"
    with connect(url, additional_headers={"authorization": "Bearer " + server.token}) as connection:
        heard = []
        for message in messages:
            connection.send(message)
            heard.append(connection.recv())
        return heard

def test_it(aquila_server):
    assert talk(aquila_server, "one", "two") == ["ONE", "TWO"]
"""


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[WebSocketProvider]:
    def speak(connection: Any) -> None:
        for message in connection:
            connection.send(message.upper())

    with web_socket_server(speak) as running:
        monkeypatch.setenv("OPENAI_BASE_URL", running.url.replace("ws", "http", 1) + "/v1")
        yield running


def run(pytester: pytest.Pytester, test: str, *arguments: str) -> pytest.RunResult:
    pytester.makepyfile(test_it=test)
    return pytester.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:xdist", *arguments)


def test_it_records_replays_and_fails_a_test_that_swallows_a_miss(
    pytester: pytest.Pytester, provider: WebSocketProvider
) -> None:
    run(pytester, TEST, "--aquila-record").assert_outcomes(passed=1)
    run(pytester, TEST).assert_outcomes(passed=1)
    assert provider.paths == ["/v1/realtime"]
    swallowed = TEST.replace(
        'assert talk(aquila_server, "one", "two") == ["ONE", "TWO"]', 'talk(aquila_server, "other")'
    )
    swallowed = swallowed.replace("    talk(", "    with contextlib.suppress(ConnectionClosed):\n        talk(")
    failed = run(pytester, f"import contextlib\n{swallowed}")
    failed.assert_outcomes(failed=1)
    failed.stdout.fnmatch_lines(["body differs from message 1 of 2 that the client had sent in test_it/test_it*"])


def test_a_conversation_that_has_changed_is_recorded_anew_by_a_second_run_of_its_test(
    pytester: pytest.Pytester, provider: WebSocketProvider
) -> None:
    run(pytester, TEST, "--aquila-record").assert_outcomes(passed=1)
    changed = TEST.replace('"two") == ["ONE", "TWO"]', '"three") == ["ONE", "THREE"]')
    assert run(pytester, changed, "--aquila-record").parseoutcomes() == {"passed": 1, "rerun": 1}
    run(pytester, changed).assert_outcomes(passed=1)
    assert len(provider.paths) == 2


def test_a_program_that_waits_in_vain_misses_what_the_recording_waits_for(
    pytester: pytest.Pytester, provider: WebSocketProvider
) -> None:
    run(pytester, TEST, "--aquila-record").assert_outcomes(passed=1)
    waits = TEST.replace('talk(aquila_server, "one", "two") == ["ONE", "TWO"]', "wait(aquila_server)")
    waits += """
def wait(server):
    with connect("ws" + server.base_url.removeprefix("http") + "/realtime") as connection:
        connection.send("one")
        connection.recv()
        connection.recv()
"""

    def replay(silence: float) -> None:
        failed = run(pytester, waits, "-o", f"aquila_silence={silence}")
        failed.assert_outcomes(failed=1)
        said = [
            "the program waits for a message, and none comes in test_it/test_it*",
            "*> two*",
            "*--aquila-record=all*",
        ]
        failed.stdout.fnmatch_lines(said)

    with_a_limit_in_time(replay, 0.2)
