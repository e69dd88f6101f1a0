"""Faults of conversations, recorded and scripted: what the openai SDK and plain clients see of each."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest
import websockets.asyncio.client
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK, InvalidStatus
from websockets.sync.client import connect

import aquila
from aquila.cassettes.model import Cassette, Interaction, RecordedRequest, RecordedResponse
from aquila.cassettes.storage.cassette_files import save_cassette
from aquila.cassettes.web_socket_frames.frame import Frame, store_frame
from aquila.errors import CassetteMiss, FaultFailed, RequestTimeout, StreamTimeout
from aquila.faults.table import FAULTS
from aquila.testing import use_script

pytestmark = [
    pytest.mark.filterwarnings("ignore:connect\\(\\) must be used as a context manager"),
    pytest.mark.usefixtures("root"),
]

URL = "wss://api.openai.com/v1/responses"
ASKED = '{"type":"response.create","model":"m","input":"hi"}'
WORDS = ["one ", "two ", "three ", "four"]

Opening = Callable[[str], contextlib.AbstractContextManager[Any]]


def told() -> list[dict[str, Any]]:
    """What is told where nothing goes wrong."""
    with use_script() as script, connect(URL) as connection:
        script.reply(chunks=WORDS)
        return say(connection)


def say(connection: Any) -> list[dict[str, Any]]:
    """Ask, and return the events up to the end of the answer, or an error."""
    connection.send(ASKED)
    return hear(connection)


def hear(connection: Any) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    while not events or events[-1]["type"] not in ("response.completed", "response.incomplete", "error"):
        events.append(json.loads(connection.recv()))
    return events


def text_of(events: list[dict[str, Any]]) -> str:
    return "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")


@pytest.fixture(params=["recorded", "scripted"])
def under(request: pytest.FixtureRequest, root: Path) -> Opening:
    """Opens a block in which the conversation, recorded or scripted, meets faults."""
    if request.param == "recorded":
        frames = [Frame(ASKED.encode(), sent=True), *(Frame(json.dumps(each).encode(), sent=False) for each in told())]
        response = RecordedResponse(101, (), tuple(map(store_frame, frames)), end="closed")
        save_cassette(root / "x.yaml", Cassette((Interaction(RecordedRequest("GET", URL), response),)))

    else:
        root.mkdir(parents=True, exist_ok=True)
        script = f"script:\n- reply: {{chunks: {json.dumps(WORDS)}}}\n"
        (root / "x.script.yaml").write_text(script, encoding="utf-8")
    return lambda faults: aquila.use_cassette("x", faults=faults, silence=0.2)


def test_a_connection_breaks_after_so_many_messages_and_the_next_one_is_whole(under: Opening) -> None:
    with under("cut_stream(after=3)"):
        with connect(URL) as connection:
            connection.send(ASKED)
            heard = [json.loads(connection.recv())["type"] for _ in range(3)]
            assert heard == ["response.created", "response.in_progress", "response.output_item.added"]
            with pytest.raises(ConnectionClosedError) as broken:
                connection.recv()
            assert broken.value.rcvd is None  # 1006
        with connect(URL) as connection:
            assert text_of(say(connection)) == "one two three four"


@pytest.mark.parametrize(
    ("fault", "heard", "error"),
    [
        ("cut_stream(after=0)", 0, ConnectionClosedError),
        ("end_early(after=1)", 1, ConnectionClosedOK),
        ("invalid_utf8(at=1)", 0, (UnicodeDecodeError, ConnectionClosedError)),
    ],
)
def test_a_conversation_ends_before_the_answer_does(under: Opening, fault: str, heard: int, error: Any) -> None:
    with under(fault), connect(URL) as connection:
        connection.send(ASKED)
        for _ in range(heard):
            connection.recv()
        with pytest.raises(error):
            connection.recv()


@pytest.mark.parametrize(
    ("code", "reason"), [(1011, "keepalive ping timeout"), (1012, ""), (1013, "busy"), (1008, "no")]
)
def test_an_abnormal_close_comes_with_code_and_reason(under: Opening, code: int, reason: str) -> None:
    with under(f"abnormal_close(code={code}, reason={reason!r}, after=2)"), connect(URL) as connection:
        connection.send(ASKED)
        for _ in range(2):
            connection.recv()
        with pytest.raises(ConnectionClosedError) as closed:
            connection.recv()
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (code, reason)


@pytest.mark.parametrize(
    ("fault", "status", "holds"),
    [
        ("unauthorized", 401, "invalid_api_key"),
        ("rate_limit(retry_after=3)", 429, "rate_limit_exceeded"),
        ("server_error", 500, "server_error"),
        ("overloaded", 503, "overloaded"),
        ("html_page", 502, "<html>"),
    ],
)
def test_a_handshake_is_refused_with_what_the_provider_says(
    under: Opening, fault: str, status: int, holds: str
) -> None:
    with under(fault):
        with pytest.raises(InvalidStatus) as refused:
            connect(URL)
        response = refused.value.response
        assert response.status_code == status
        assert holds in response.body.decode()
        if "retry_after" in fault:
            assert response.headers["retry-after"] == "3"
        with connect(URL) as connection:
            assert text_of(say(connection)) == "one two three four"


def test_connections_that_are_refused_or_reset(under: Opening) -> None:
    with under("connection_refused, connection_reset"):
        with pytest.raises(ConnectionRefusedError):
            connect(URL)
        with pytest.raises((ConnectionError, EOFError, websockets.exceptions.InvalidMessage)):
            connect(URL)
        with connect(URL) as connection:
            assert text_of(say(connection)) == "one two three four"


def test_a_silent_handshake_costs_no_time(under: Opening) -> None:
    with under("timeout(times=2)"):
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            connect(URL, open_timeout=600)

        async def in_loop() -> None:
            await websockets.asyncio.client.connect(URL, open_timeout=600)

        with pytest.raises(TimeoutError):
            asyncio.run(in_loop())
        assert time.monotonic() - began < 60


def test_a_message_that_is_no_json(under: Opening) -> None:
    with under("garbage(at=2), truncated_json(at=1)"):
        with connect(URL) as connection:
            connection.send(ASKED)
            connection.recv()
            assert connection.recv() == "{malformed: <<<"
            connection.recv()
        with connect(URL) as connection:
            connection.send(ASKED)
            with pytest.raises(json.JSONDecodeError):
                json.loads(connection.recv())


def test_messages_are_lost_doubled_and_change_places(under: Opening) -> None:
    good = told()
    with under("dropped_event(at=1), duplicated_event(at=1), reordered_events(at=1)"):
        heard = []
        for _ in range(3):
            with connect(URL) as connection:
                heard.append([event["type"] for event in say(connection)])
    kinds = [event["type"] for event in good]
    assert heard == [kinds[1:], [kinds[0], *kinds], [kinds[1], kinds[0], *kinds[2:]]]


def test_an_error_in_the_midst_is_nested_and_the_same_connection_answers_well_when_it_is_asked_again(
    under: Opening,
) -> None:
    with under("error_event(after=4)"), openai.OpenAI(api_key="x") as client, client.responses.connect() as connection:
        events: list[Any] = []
        for _ in range(2):
            connection.send(json.loads(ASKED))
            while not events or events[-1].type not in ("response.completed", "error"):
                events.append(connection.recv())
            if events[-1].type == "error":
                assert len(events) == 5
                assert (events[-1].status, events[-1].error.type) == (500, "server_error")
                events.clear()
        assert events[-1].response.output_text == "one two three four"


def test_a_silence_fails_the_test_that_does_not_end_it(under: Opening) -> None:
    with under("stall(after=2)"), connect(URL) as connection:
        connection.send(ASKED)
        for _ in range(2):
            connection.recv()
        with pytest.raises(FaultFailed, match=r"nothing ended the silence of the fault stall\(after=2\)"):
            connection.recv()


def test_a_silence_ends_with_the_programs_own_limit(under: Opening) -> None:
    async def use() -> int:
        heard = 0
        async with websockets.asyncio.client.connect(URL) as connection:
            await connection.send(ASKED)
            with pytest.raises(TimeoutError):
                while True:
                    await asyncio.wait_for(connection.recv(), 0.1 if heard == 2 else None)
                    heard += 1
        return heard

    with under("stall(after=2)"):
        assert asyncio.run(use()) == 2


def test_a_limit_that_the_library_knows_ends_a_silence_at_once(under: Opening) -> None:
    async def use() -> None:
        async with aiohttp.ClientSession() as session, session.ws_connect(URL) as socket:
            await socket.send_str(ASKED)
            await socket.receive(timeout=600)
            with pytest.raises(TimeoutError):
                await socket.receive(timeout=600)

    began = time.monotonic()
    with under("stall(after=1, times=2)"):
        with connect(URL) as connection:
            connection.send(ASKED)
            connection.recv(timeout=600)
            with pytest.raises(TimeoutError):
                connection.recv(timeout=600)
        asyncio.run(use())
    assert time.monotonic() - began < 60


def test_the_limit_of_a_call_ends_a_silence_at_once() -> None:
    options: dict[str, Any] = {"model": "m", "endpoint": "responses", "websocket": True, "timeout": 600}
    began = time.monotonic()
    with use_script(faults="stall(times=2)") as script:
        script.reply("Hello.")
        with pytest.raises(StreamTimeout):
            aquila.ask("hi", **options)
        with pytest.raises(StreamTimeout):
            asyncio.run(aquila.aask("hi", **options))
    assert time.monotonic() - began < 60


@pytest.mark.parametrize("fault", ["stall(times=2)", "stall(after=1, times=2)"])
@pytest.mark.parametrize("limits", [{"read": 900}, {}])
def test_the_limit_of_the_whole_call_is_the_one_that_is_told(fault: str, limits: dict[str, float]) -> None:
    timeouts = aquila.Timeouts(total=300, idle=600, **limits)
    options: dict[str, Any] = {"model": "m", "endpoint": "responses", "timeout": timeouts, "max_retries": 0}
    for is_over_socket in (False, True):
        with use_script(faults=fault) as script:
            script.reply("Hello.")
            with pytest.raises(RequestTimeout, match=r"total: .* longer than 300 s"):
                aquila.ask("hi", websocket=is_over_socket, **options)
            with pytest.raises(RequestTimeout, match=r"total: .* longer than 300 s"):
                asyncio.run(aquila.aask("hi", websocket=is_over_socket, **options))


@pytest.mark.parametrize("fault", ["slow(pace=0.02, first=0.1)", "stall(seconds=0.1, after=1)"])
def test_messages_take_the_time_that_the_fault_says(under: Opening, fault: str) -> None:
    with under(fault), connect(URL) as connection:
        began = time.monotonic()
        assert text_of(say(connection)) == "one two three four"
        assert time.monotonic() - began >= 0.1


@pytest.mark.parametrize(
    ("fault", "status", "text"),
    [
        ("finish_length", "incomplete", "one two three four"),
        ("content_filter", "incomplete", "one two three four"),
        ("empty_answer", "completed", ""),
        ("refusal(text='No.')", "completed", ""),
    ],
)
def test_what_an_answer_says_is_changed(under: Opening, fault: str, status: str, text: str) -> None:
    with under(fault), connect(URL) as connection:
        events = say(connection)
    assert events[-1]["type"] == f"response.{status}"
    assert text_of(events) == text
    assert ("No." in json.dumps(events)) == fault.startswith("refusal")


def test_streams_of_one_connection_keep_their_names_in_what_a_fault_adds() -> None:
    with use_script(faults="refusal(text='No.')") as script, connect(URL) as connection:
        script.reply("Yes.")
        connection.send('{"type":"response.create","input":"hi","stream_id":"s1"}')
        assert {event["stream_id"] for event in hear(connection)} == {"s1"}


@pytest.mark.parametrize("fault", ["one_byte", "one_piece", "split_events", "other_chunks"])
def test_a_fault_that_reaches_no_web_socket_says_which_do(under: Opening, fault: str) -> None:
    with under(fault) as used, connect(URL) as connection:
        assert text_of(say(connection)) == "one two three four"
        assert not used.misses
    kind = FAULTS[fault]
    assert kind.within is None
    with pytest.raises(aquila.errors.ConfigError, match=r"does not apply to WebSockets.* These do: cut_stream, "):
        kind.change_conversation(Interaction(RecordedRequest("GET", URL), RecordedResponse(101)))


def test_messages_of_the_program_after_a_fault_are_not_compared(under: Opening) -> None:
    with under("cut_stream(after=2)"), connect(URL) as connection:
        connection.send(ASKED)
        connection.recv()
        with contextlib.suppress(ConnectionClosedError):
            connection.send('{"type":"response.create","input":"something else"}')


@pytest.mark.parametrize("under", ["recorded"], indirect=True)
def test_what_a_program_adds_after_a_fault_is_no_miss(under: Opening) -> None:
    with under("garbage(at=2)") as used, connect(URL) as connection:
        connection.send(ASKED)
        while connection.recv(60) != "{malformed: <<<":
            pass
        connection.send('{"type":"response.cancel"}')
    assert not used.misses


def test_the_good_recording_is_still_to_be_played_after_a_fault(under: Opening) -> None:
    with under("cut_stream(after=1)") as used:
        with connect(URL) as connection:
            connection.send(ASKED)
            connection.recv()
        assert not used.misses
        with connect(URL) as connection:
            assert text_of(say(connection)) == "one two three four"


def test_a_question_that_nothing_answers_is_a_miss_under_a_fault_too() -> None:
    with use_script(faults="cut_stream") as script, connect(URL) as connection:
        script.when("something").reply("1")
        with pytest.raises(CassetteMiss):
            connection.send(ASKED)
