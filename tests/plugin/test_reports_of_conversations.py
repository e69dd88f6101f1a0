"""Recorded conversations over WebSockets in a report: of the run that records, of a replay, and of one that drifts."""

from __future__ import annotations

import json
from typing import Any

import pytest

import tests.support.preloaded  # noqa: F401
from aquila.run_report.exchanges import MOST_FRAMES
from tests.support.report_schema import read_report
from tests.support.web_sockets import web_socket_provider

TEST = """
import json
from websockets.sync.client import connect

def talk(*said):
    with connect("wss://api.openai.com/v1/realtime?model=gpt-talks") as connection:
        for text in said:
            connection.send(json.dumps({"type": "say", "text": text}))
            while json.loads(connection.recv(60))["type"] != "response.done":
                pass

def test_it(aquila_cassette):
    talk("hello", "bye")
    assert aquila_cassette.all_played
"""


def run(pytester: pytest.Pytester, test: str, *arguments: str) -> Any:
    """Run a test, and return its exchanges."""
    pytester.makepyfile(test_it=test)
    options = ("-p", "no:cacheprovider", "-p", "no:xdist", "--aquila-report=run.json", "--aquila-report=run.html")
    pytester.runpytest_inprocess(*options, *arguments)
    assert "gpt-talks" in (pytester.path / "run.html").read_text()
    return read_report(pytester.path)["tests"][0]["exchanges"]


def speak(connection: Any) -> None:
    while True:
        said = json.loads(connection.recv(60))
        for word in (said["text"].upper(), "!"):
            connection.send(json.dumps({"type": "response.output_text.delta", "delta": word}))
        connection.send(json.dumps({"type": "response.done"}))


def test_a_conversation_is_told_when_it_is_recorded_replayed_and_has_drifted(pytester: pytest.Pytester) -> None:
    with web_socket_provider("api.openai.com", speak=speak):
        (recorded,) = run(pytester, TEST, "--aquila-record")
    (replayed,) = run(pytester, TEST)
    for exchange, state in ((recorded, "recorded"), (replayed, "replayed")):
        assert (exchange["kind"], exchange["states"], exchange["source"]) == ("websocket", [state], state)
        assert (exchange["model"], exchange["status"]) == ("gpt-talks", 101)
        said = [(frame["direction"], json.loads(frame["body"])["type"]) for frame in exchange["frames"]]
        answer = [("received", kind) for kind in ("response.output_text.delta",) * 2 + ("response.done",)]
        assert said == [("sent", "say"), *answer] * 2
        assert exchange["answer"] == [{"role": "assistant", "text": "HELLO!BYE!"}]
        times = [frame["at"] for frame in exchange["frames"]]
        assert times == sorted(times)
        assert exchange["cassette"] == "cassettes/test_it/test_it.yaml"
        lines = (pytester.path / exchange["cassette"]).read_text().splitlines()
        assert lines[exchange["line"] - 1].startswith("- kind: websocket")

    drifted, unplayed = run(pytester, TEST.replace('"bye"', '"good night"'))
    assert drifted["kind"] == "websocket"
    assert "missed" in drifted["states"]
    assert "text differs" in drifted["problem"]
    assert [json.loads(frame["body"])["text"] for frame in drifted["frames"] if frame["direction"] == "sent"] == [
        "hello",
        "good night",
    ]
    assert (unplayed["states"], unplayed["line"]) == (["unplayed"], replayed["line"])


@pytest.mark.slow
def test_of_a_long_conversation_its_beginning_and_its_end_are_told(pytester: pytest.Pytester) -> None:
    test = TEST.replace('talk("hello", "bye")', "talk(*map(str, range(150)))")
    with web_socket_provider("api.openai.com", speak=speak):
        (recorded,) = run(pytester, test, "--aquila-record")
    (replayed,) = run(pytester, test)
    for exchange in (recorded, replayed):
        assert len(exchange["frames"]) in (MOST_FRAMES, MOST_FRAMES - 1)  # one may be that it was closed
        assert exchange["frames_left_out"] == pytest.approx(600 - MOST_FRAMES, abs=1)
        assert json.loads(exchange["frames"][0]["body"])["text"] == "0"
        sent = [frame for frame in exchange["frames"] if frame["direction"] == "sent"]
        assert json.loads(sent[-1]["body"])["text"] == "149"
