"""Which of several recorded conversations answers a connection: programs may connect in any order."""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

import aquila
from aquila.errors import CassetteMiss, PlayedOut
from aquila.recording import runtime
from aquila.recording.reporting.wire_watch import WireWatch
from tests.support.runs import separate_run
from tests.support.web_sockets import web_socket_provider

URL = "wss://api.openai.com/v1/responses"
UNANSWERED = "nothing to say"
GREETING_URL = "wss://api.openai.com/v1/realtime?model=m"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Iterator[Path]:
    with separate_run(tmp_path):
        yield tmp_path


def record(url: str, *conversations: list[str]) -> None:
    count = iter(range(100))

    def speak(connection: Any) -> None:
        if url == GREETING_URL:
            connection.send(json.dumps({"type": "session.created", "number": next(count)}))
        while True:
            if (text := connection.recv(60)) != UNANSWERED:
                connection.send(text.upper())

    with web_socket_provider("api.openai.com", speak=speak), aquila.use_cassette("x", transport="record"):
        for texts in conversations:
            with connect(url) as connection:
                if url == GREETING_URL:
                    connection.recv(60)
                assert say(connection, *texts) == [text.upper() for text in texts if text != UNANSWERED]


def say(connection: Any, *texts: str) -> list[str]:
    said = []
    for text in texts:
        connection.send(text)
        if text != UNANSWERED:
            said.append(connection.recv(60))
    return said


def test_verdicts_count_the_messages_of_the_recording_that_answers() -> None:
    record(URL, ["a", "one"], ["b", "two", "more"])
    watch = runtime.current_run().wire_watch = WireWatch(time.monotonic)
    with aquila.use_cassette("x", transport="replay"), connect(URL) as connection:
        say(connection, "b", "two")
        assert [each.reading for each in watch.attempts] == ["open"]
        say(connection, "more")
        assert [each.reading for each in watch.attempts] == ["read"]


def test_the_recording_that_begins_with_what_is_said_answers() -> None:
    record(URL, ["a", "one"], ["b", "two"], ["a", "three"])
    with aquila.use_cassette("x", transport="replay") as used:
        with connect(URL) as first, connect(URL) as second, connect(URL) as third:
            assert say(third, "a") == ["A"]
            assert say(first, "a") == ["A"]
            assert say(second, "b", "two") == ["B", "TWO"]
            assert say(first, "one") == ["ONE"]
            assert not used.all_played
            assert say(third, "three") == ["THREE"]
        assert used.all_played


def test_a_message_with_which_no_recording_begins_is_compared_with_a_free_one() -> None:
    record(URL, ["a"], ["b"])
    with aquila.use_cassette("x", transport="replay") as used:
        with connect(URL) as first, connect(URL) as second:
            assert say(first, "b") == ["B"]
            with pytest.raises(CassetteMiss, match="recorded 'a', now 'c'"):
                second.send("c")
        with pytest.raises(PlayedOut):
            connect(URL)
        used.forget_misses()


def test_the_last_one_answers_further_connections_whichever_of_them_speak_first() -> None:
    record(URL, ["a", "one"], [UNANSWERED, "a", "two"])
    with aquila.use_cassette("x", transport="replay", repeat="last") as used:
        with connect(URL) as first, connect(URL) as second, connect(URL) as third:
            assert not say(second, UNANSWERED)
            assert say(third, UNANSWERED, "a", "two") == ["A", "TWO"]
            assert say(first, "a", "one") == ["A", "ONE"]
            assert say(second, "a", "two") == ["A", "TWO"]
        assert used.all_played


@pytest.mark.parametrize("said", [["b"], ["a", "b"]], ids=["no connection takes it", "one left it for a longer one"])
def test_a_recording_that_answers_no_connection_to_its_end_was_not_played(said: list[str]) -> None:
    record(URL, ["a"], said)
    with aquila.use_cassette("x", transport="replay") as used:
        with connect(URL) as only:
            assert say(only, *said) == [text.upper() for text in said]
        (left,) = used.unplayed
        assert b"data: a\n" in left.response.body
        assert b"data: b\n" not in left.response.body


def test_a_greeting_that_was_heard_decides() -> None:
    record(GREETING_URL, ["a"], ["b"])
    with aquila.use_cassette("x", transport="replay") as used:
        with connect(GREETING_URL) as first:
            assert json.loads(first.recv(60))["number"] == 0
            with pytest.raises(CassetteMiss, match="recorded 'a', now 'b'"):
                first.send("b")
        used.forget_misses()


@pytest.mark.slow
def test_threads_that_connect_at_once_find_their_recordings() -> None:
    """A connection that looks at a recording and leaves it keeps no other one from it."""
    texts = [f"text {number}" for number in range(6)]
    record(URL, *[[text] for text in texts])
    together = threading.Barrier(len(texts))

    def ask(text: str) -> list[str]:
        with connect(URL) as connection:
            together.wait(60)
            return say(connection, text)

    with ThreadPoolExecutor(len(texts)) as pool:
        for shift in range(1, 8):
            asked = texts[shift % 6 :] + texts[: shift % 6]
            with aquila.use_cassette("x", transport="replay") as used:
                assert list(pool.map(ask, asked)) == [[text.upper()] for text in asked]
                assert used.all_played


def record_alike(*kinds: str) -> None:
    """Record Realtime conversations that begin alike but for ids of the provider, and go on with another word each."""
    count = itertools.count(1)

    def speak(connection: Any) -> None:
        number = next(count)

        def tell(kind: str, **more: Any) -> None:
            event = {"type": kind, "event_id": f"event_{number}_{len(told)}", **more}
            told.append(event)
            connection.send(json.dumps(event))

        told: list[Any] = []
        session = {"id": f"sess_{number}", "model": "m", "expires_at": 1000 + number}
        tell("session.created", session=session)
        while True:
            said = json.loads(connection.recv(60))
            if said["type"] == "session.update":
                tell("session.updated", session=session)
            else:
                tell("item.added", item={"id": f"item_{number}_{len(told)}", "text": said["text"].upper()})

    with web_socket_provider("api.openai.com", speak=speak), aquila.use_cassette("x", transport="record"):
        for kind in kinds:
            with connect(GREETING_URL) as connection:
                assert go_on(connection, kind, begin(connection)) == kind.upper()


def begin(connection: Any) -> str:
    """Say what all say. Return the id of what was added, which each goes on behind."""
    created = json.loads(connection.recv(60))
    connection.send(json.dumps({"type": "session.update", "session": {"instructions": "Be brief."}}))
    updated = json.loads(connection.recv(60))
    assert updated["session"]["id"] == created["session"]["id"]
    connection.send(json.dumps({"type": "item.create", "text": "hello"}))
    return str(json.loads(connection.recv(60))["item"]["id"])


def go_on(connection: Any, word: str, previous: str) -> str:
    """Say what this one alone says. Return the answer."""
    connection.send(json.dumps({"type": "item.create", "text": word, "previous_item_id": previous}))
    return str(json.loads(connection.recv(60))["item"]["text"])


@pytest.mark.parametrize("order", ["abc", "cab", "bca", "cba"])
def test_connections_that_begin_alike_have_the_recording_that_goes_on_as_they_do(order: str) -> None:
    record_alike("a", "b", "c")
    with aquila.use_cassette("x", transport="replay") as used, contextlib.ExitStack() as opened:
        connections = [opened.enter_context(connect(GREETING_URL)) for _ in order]
        begun = [begin(connection) for connection in connections]
        assert len(set(begun)) == 3
        rows = zip(connections, order, begun, strict=True)
        assert [go_on(connection, word, previous) for connection, word, previous in rows] == list(order.upper())
        assert used.all_played


def test_connections_one_after_the_other_find_their_recordings_in_any_order() -> None:
    record_alike("a", "b", "c")
    with aquila.use_cassette("x", transport="replay") as used:
        for word in "cab":
            with connect(GREETING_URL) as connection:
                assert go_on(connection, word, begin(connection)) == word.upper()
        assert used.all_played


def test_a_message_with_which_no_recording_goes_on_is_a_miss() -> None:
    record_alike("a", "b")
    with aquila.use_cassette("x", transport="replay") as used:
        with connect(GREETING_URL) as first, connect(GREETING_URL) as second:
            previous = begin(first)
            assert go_on(second, "a", begin(second)) == "A"
            with pytest.raises(CassetteMiss, match="text: recorded 'b', now 'c'"):
                go_on(first, "c", previous)
        used.forget_misses()


def test_threads_that_begin_alike_at_once_find_their_recordings() -> None:
    words = "abcdef"
    record_alike(*words)
    with aquila.use_cassette("x", transport="replay") as used:
        together = threading.Barrier(len(words))

        def run(word: str) -> str:
            with connect(GREETING_URL) as connection:
                previous = begin(connection)
                together.wait(60)
                return go_on(connection, word, previous)

        with ThreadPoolExecutor(len(words)) as pool:
            assert list(pool.map(run, reversed(words))) == list("FEDCBA")
        assert used.all_played
