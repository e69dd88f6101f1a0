"""The modes of recording, a test that fails while it records, and a run that verifies: as for requests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

import tests.support.preloaded  # noqa: F401
from aquila.cassettes.storage.cassette_files import load_cassette
from tests.support.web_sockets import WebSocketProvider, web_socket_provider

HOST = "api.openai.com"
TEST = """
from websockets.sync.client import connect

def test_it(aquila_cassette):
    with connect("wss://api.openai.com/v1/realtime?model=m") as connection:
        connection.send('{"type":"response.create"}')
        print(connection.recv())
        connection.recv()
"""


@pytest.fixture
def provider() -> Iterator[WebSocketProvider]:
    count = iter(range(100))

    def speak(connection: Any) -> None:
        connection.recv(60)
        connection.send(json.dumps({"type": "response.output_text.delta", "delta": f"answer {next(count)}"}))
        connection.send(json.dumps({"type": "response.done"}))
        connection.recv(60)

    with web_socket_provider(HOST, speak=speak) as running:
        yield running


def run(pytester: pytest.Pytester, *arguments: str, test: str = TEST) -> pytest.RunResult:
    pytester.makepyfile(test_it=test)
    return pytester.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:xdist", "-s", *arguments)


def stored(pytester: pytest.Pytester, pattern: str = "test_it.yaml") -> list[str]:
    """Which answer each conversation in the file has."""
    (path,) = (pytester.path / "cassettes").rglob(pattern)
    bodies = [each.response.body.decode() for each in load_cassette(path).interactions]
    return [body.partition("answer ")[2][:1] for body in bodies]


def test_all_records_anew_and_missing_only_what_is_missing(
    pytester: pytest.Pytester, provider: WebSocketProvider
) -> None:
    run(pytester, "--aquila-record").assert_outcomes(passed=1)
    run(pytester, "--aquila-record").assert_outcomes(passed=1)
    assert (stored(pytester), len(provider.paths)) == (["0"], 1)
    run(pytester, "--aquila-record=all").assert_outcomes(passed=1)
    assert (stored(pytester), len(provider.paths)) == (["1"], 2)


def test_pending_keeps_the_cassette_and_puts_the_conversation_beside_it(
    pytester: pytest.Pytester, provider: WebSocketProvider
) -> None:
    run(pytester, "--aquila-record").assert_outcomes(passed=1)
    run(pytester, "--aquila-record=pending").assert_outcomes(passed=1)
    assert stored(pytester) == ["0"]
    assert stored(pytester, "*.pending.yaml") == ["1"]


def test_a_budget_that_is_spent_lets_no_further_conversation_be_recorded(
    pytester: pytest.Pytester, provider: WebSocketProvider
) -> None:
    another = TEST[TEST.index("def test_it") :].replace("test_it", "test_another")
    result = run(pytester, "--aquila-record", "-o", "aquila_record_budget=1 request", test=f"{TEST}\n{another}")
    result.assert_outcomes(passed=1, failed=1)
    assert len(provider.paths) == 1


def test_what_a_failed_test_has_said_is_kept_beside(pytester: pytest.Pytester, provider: WebSocketProvider) -> None:
    failing = TEST + "    assert False\n"
    run(pytester, "--aquila-record", test=failing).assert_outcomes(failed=1)
    assert not [path for path in pytester.path.rglob("test_it.yaml") if "pending" not in path.name]
    assert stored(pytester, "*.pending.yaml") == ["0"]


def test_a_run_that_verifies_asks_for_no_conversation_again(
    pytester: pytest.Pytester, provider: WebSocketProvider
) -> None:
    run(pytester, "--aquila-record").assert_outcomes(passed=1)
    result = run(pytester, "--aquila-verify")
    result.assert_outcomes(passed=1)
    assert len(provider.paths) == 1
    why = "a conversation over a WebSocket, which is not asked again"
    assert f"aquila: verify: skipped: 1 recording: {why}" in result.stdout.str().replace("\n  ", " ")


def test_a_test_that_talks_less_than_was_recorded_is_as_one_that_left(
    pytester: pytest.Pytester, provider: WebSocketProvider
) -> None:
    run(pytester, "--aquila-record").assert_outcomes(passed=1)
    run(pytester, test=TEST.rpartition("        connection.recv()")[0]).assert_outcomes(passed=1)


def test_what_is_recorded_is_replayed_also_where_others_are_recorded_from_elsewhere(
    pytester: pytest.Pytester, provider: WebSocketProvider
) -> None:
    run(pytester, "--aquila-record").assert_outcomes(passed=1)
    run(pytester, "--aquila-record", "--aquila-upstream=local").assert_outcomes(passed=1)
    result = run(pytester, "--aquila-record=all", "--aquila-upstream=local")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*aquila_upstream is 'local', and WebSockets are recorded live alone*"])
    assert len(provider.paths) == 1


def test_what_could_not_be_replayed_is_refused_before_it_is_recorded(
    pytester: pytest.Pytester, provider: WebSocketProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("websockets.__version__", "10.4")
    recorded = run(pytester, "--aquila-record")
    recorded.assert_outcomes(failed=1)
    recorded.stdout.fnmatch_lines(
        ["E *MissingDependency: the replay * 'websockets' in version 11.0 or newer, and 10.4 is installed; *"]
    )
    assert provider.paths == []
