"""Conversations over WebSockets through the server: recorded and replayed as its requests are, for any client."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import socket
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, InvalidMessage, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.sync.server import ServerConnection

from aquila.cassettes.model import Cassette, Interaction, RecordedRequest, RecordedResponse
from aquila.cassettes.storage.cassette_files import load_cassette, save_cassette
from aquila.cassettes.web_socket_frames.frame import Close, Frame, read_frames
from aquila.recording.reporting.wire_watch import WireWatch
from aquila.recording.runtime import current_run
from aquila.recording.scope import Scope
from aquila.scripting.script import Script
from aquila.server.access_log import RequestLog
from aquila.server.application import build_application
from aquila.server.background_server import BackgroundServer
from aquila.server.client_socket import ClientSocket
from aquila.transports.callers.proxy import Proxy
from tests.cassettes.web_socket_frames.conversations import received, sent, store
from tests.server.conftest import ADMISSION, Serve
from tests.support.provider import responses_events
from tests.support.web_sockets import WebSocketProvider, break_off, web_socket_server

PATH = "/v1/realtime?model=m"
HANDSHAKE = (
    f"GET {PATH} HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
    "sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
).encode()


@pytest.fixture
def talker(root: Path) -> Iterator[WebSocketProvider]:
    """A provider that says back, in upper case, what it is told."""

    def speak(connection: ServerConnection) -> None:
        connection.send(json.dumps({"type": "session.created"}))
        for message in connection:
            said = message.upper() if isinstance(message, str) else message[::-1]
            connection.send(said)

    with web_socket_server(speak, compression=None) as running:
        yield running


def dial(running: BackgroundServer, path: str = PATH, **options: Any) -> ClientConnection:
    url = f"ws{running.url.removeprefix('http')}{path}"
    return connect(url, max_size=None, **options)


def converse(running: BackgroundServer, *messages: str | bytes, path: str = PATH, **options: Any) -> list[str | bytes]:
    """Say messages, one after the other, and return what came: a greeting, and an answer to each."""
    with dial(running, path, **options) as connection:
        heard = [connection.recv(60)]
        for message in messages:
            connection.send(message)
            heard.append(connection.recv(60))
    return heard


def recording(root: Path, name: str = "x") -> Interaction:
    (interaction,) = load_cassette(root / f"{name}.yaml").interactions
    return interaction


def said(interaction: Interaction) -> list[tuple[str, bytes]]:
    frames = read_frames(interaction.response.chunks)
    return [(">" if each.sent else "<", each.data) for each in frames if isinstance(each, Frame)]


GREETING = '{"type": "session.created"}'


def test_a_conversation_is_recorded_and_replayed(serve: Serve, talker: WebSocketProvider, root: Path) -> None:
    expected = [GREETING, "HI", b"cba"]
    with serve(record="missing", upstream=talker.url) as running:
        assert converse(running, "hi", b"abc") == expected
    with serve(upstream=talker.url) as running:
        assert converse(running, "hi", b"abc") == expected
    assert talker.paths == [PATH]
    stored = recording(root)
    assert stored.request.url == f"{talker.url}{PATH}"
    assert said(stored) == [
        ("<", GREETING.encode()),
        (">", b"hi"),
        ("<", b"HI"),
        (">", b"abc"),
        ("<", b"cba"),
    ]
    assert next(each for each in read_frames(stored.response.chunks) if isinstance(each, Close)).by == "client"


def test_an_answer_has_one_date_and_that_is_the_recorded_one(
    serve: Serve, talker: WebSocketProvider, root: Path
) -> None:
    for options in ({"record": "missing"}, {}):
        with serve(**options, upstream=talker.url) as running, dial(running) as connection:
            connection.recv(60)
            assert connection.response is not None
            dates = connection.response.headers.get_all("date")
    assert dates == [recording(root).response.first_header("date")]


def test_a_changed_message_is_told_in_an_event_in_the_close_and_where_misses_are_asked_for(
    serve: Serve, talker: WebSocketProvider, root: Path
) -> None:
    lines: list[str] = []
    with serve(record="missing", upstream=talker.url) as running:
        converse(running, "hi", '{"type": "ask", "for": "tea"}')
    with serve(upstream=talker.url, log=RequestLog(lambda text: text, lines.append)) as running:
        with dial(running) as connection:
            connection.recv(60)
            connection.send("hi")
            connection.recv(60)
            connection.send('{"type": "ask", "for": "coffee"}')
            event = json.loads(connection.recv(60))
            with pytest.raises(ConnectionClosedError):
                connection.recv(60)
        told = httpx2.get(f"{running.url}/_aquila/misses").json()["misses"]
    assert connection.close_code == 1008
    assert connection.close_reason == "cassette_miss: for differs from message 2 of 2 that the client had sent in x"
    assert event["type"] == "error"
    assert event["error"]["code"] == "cassette_miss"
    assert "for: recorded 'tea', now 'coffee'" in event["error"]["message"]
    assert told == [event["error"]["message"]]
    assert any(line.startswith(f"GET {PATH} 101 missed ") for line in lines)
    assert "for: recorded 'tea', now 'coffee'" in "\n".join(lines)


def test_a_long_reason_is_shortened_in_the_close(serve: Serve, talker: WebSocketProvider, root: Path) -> None:
    field = "for" * 40
    with serve(record="missing", upstream=talker.url) as running:
        converse(running, json.dumps({field: "tea"}))
    with serve(upstream=talker.url) as running, dial(running) as connection:
        connection.recv(60)
        connection.send(json.dumps({field: "coffee"}))
        list_until_closed(connection)
    assert connection.close_code == 1008
    reason = connection.close_reason or ""
    assert (reason[:15], reason[-3:], len(reason.encode())) == ("cassette_miss: ", "...", 123)


def test_a_handshake_that_is_not_recorded_is_refused_like_a_request(
    serve: Serve, talker: WebSocketProvider, root: Path
) -> None:
    lines: list[str] = []
    with (
        serve(upstream=talker.url, log=RequestLog(lambda text: text, lines.append)) as running,
        pytest.raises(InvalidStatus) as refused,
    ):
        converse(running)
    response = refused.value.response
    assert response.status_code == 404
    error = json.loads(response.body or b"")["error"]
    assert error["code"] == "cassette_miss"
    assert lines[0].startswith(f"GET {PATH} 404 missed ")
    assert error["message"].splitlines()[0] in lines[1]
    assert talker.paths == []


def test_a_refusal_is_told_as_one_though_its_client_is_still_there_when_the_server_ends(
    serve: Serve, talker: WebSocketProvider, root: Path
) -> None:
    lines: list[str] = []
    with (
        contextlib.ExitStack() as later,
        serve(upstream=talker.url, log=RequestLog(lambda text: text, lines.append)) as running,
    ):
        client = later.enter_context(socket.create_connection(running.address))
        client.sendall(HANDSHAKE)
        while client.recv(65536):
            pass
    assert lines[0].startswith(f"GET {PATH} 404 missed ")


def test_the_nth_conversation_gets_the_nth_recording_and_two_at_once_get_one_each(
    serve: Serve, talker: WebSocketProvider, root: Path
) -> None:
    with serve(record="missing", upstream=talker.url) as running:
        converse(running, "one")
        converse(running, "one")
    with serve(record="missing", upstream=talker.url) as running:
        with dial(running) as first, dial(running) as second:
            for connection in (second, first):
                assert connection.recv(60) == GREETING
                connection.send("one")
            assert [each.recv(60) for each in (first, second)] == ["ONE", "ONE"]
        assert len(talker.paths) == 2
        assert converse(running, "two") == [GREETING, "TWO"]
    assert len(talker.paths) == 3
    assert len(load_cassette(root / "x.yaml").interactions) == 3


@pytest.mark.parametrize("way", ["provider", "provider without a code", "client", "broken"])
def test_it_ends_as_it_had_ended(way: str, serve: Serve, root: Path) -> None:
    words = "[" * 100_000 if way == "provider" else "last words"  # which is no JSON, however deep

    def speak(connection: ServerConnection) -> None:
        connection.send(words)
        if way == "provider":
            connection.close(4000, "so long")
        elif way == "provider without a code":
            with connection.send_context():
                connection.protocol.send_close()
        elif way == "broken":
            break_off(connection)
        else:
            for _ in connection:
                pass

    def end(running: BackgroundServer) -> tuple[int | None, str | None]:
        with dial(running) as connection:
            assert connection.recv(60) == words
            if way == "client":
                connection.close(4001, "enough")
            with pytest.raises(ConnectionClosed):
                connection.recv(60)
        return connection.close_code, connection.close_reason

    expected = {
        "provider": (4000, "so long"),
        "provider without a code": (1005, ""),
        "client": (4001, "enough"),
        "broken": (1006, ""),
    }[way]
    with web_socket_server(speak) as provider, serve(record="missing", upstream=provider.url) as running:
        assert end(running) == expected
    stored = recording(root)
    closes = [(each.by, each.code) for each in read_frames(stored.response.chunks) if isinstance(each, Close)]
    assert closes == ([] if way == "broken" else [("client" if way == "client" else "provider", expected[0])])
    assert stored.response.end == ("broken" if way == "broken" else "complete")
    lines: list[str] = []
    with serve(upstream=provider.url, log=RequestLog(str, lines.append)) as running:
        assert end(running) == expected
    assert " 101 replayed " in lines[0]  # and not that the client has left


def test_a_refused_handshake_is_recorded_with_its_body(serve: Serve, talker: WebSocketProvider, root: Path) -> None:
    def refuse(connection: ServerConnection, request: Any) -> Any:
        answer = connection.respond(401, '{"error": {"code": "invalid_api_key"}}')
        answer.headers["x-request-id"] = "req_1"
        return answer

    talker.refuse = refuse
    for record in ("missing", None):
        with serve(record=record, upstream=talker.url) as running, pytest.raises(InvalidStatus) as refused:
            converse(running)
        response = refused.value.response
        assert response.status_code == 401
        assert json.loads(response.body or b"")["error"]["code"] == "invalid_api_key"
        assert response.headers["x-request-id"] == "req_1"
    assert len(talker.paths) == 1


@pytest.mark.usefixtures("root")
def test_an_upstream_that_cannot_be_reached_is_a_502(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    importlib.import_module("websockets.asyncio.client")  # which may import what is removed here
    monkeypatch.delattr("websockets.exceptions.InvalidProxy", raising=False)  # as before 15.0
    for record in ("missing", None):
        with serve(record=record, upstream="ws://127.0.0.1:9") as running, pytest.raises(InvalidStatus) as refused:
            converse(running)
        assert refused.value.response.status_code == 502


@pytest.mark.slow
@pytest.mark.parametrize("forgets", [False, True], ids=["of a test", "of aquila serve"])
def test_a_handshake_that_the_end_of_the_server_cuts_is_left_or_forgotten(forgets: bool, root: Path) -> None:
    scope = Scope(kind="block", default_cassette="x", options={"transport": "record", "record": "missing"})
    with socket.create_server(("127.0.0.1", 0)) as silent, ThreadPoolExecutor(1) as threads:
        upstream = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with BackgroundServer(build_application(Proxy(lambda: scope, upstream=upstream), ADMISSION)) as running:
            talking = threads.submit(converse, running)
            asked, _ = silent.accept()
            assert asked.recv(4096)
        with asked:
            assert isinstance(talking.exception(60), InvalidMessage)
    if forgets:
        scope.forget_unfinished()  # else a replay would wait for ever
    assert scope.close().recorded == (0 if forgets else 1)


def test_a_script_answers_and_one_that_speaks_another_protocol_says_so(root: Path) -> None:
    scope = Scope(kind="block", name="aquila serve", options={"transport": "replay"})
    script = Script()
    scope.scripts.use(script)
    script.reply(chunks=["Hello ", "there"], first=0.01, pace=0.01)
    with BackgroundServer(build_application(Proxy(lambda: scope), ADMISSION)) as running:
        with dial(running, "/v1/responses") as connection:
            connection.send(json.dumps({"type": "response.create", "model": "m", "input": "hi"}))
            heard = [json.loads(connection.recv(60))]
            while heard[-1]["type"] != "response.completed":
                heard.append(json.loads(connection.recv(60)))
        assert [event["delta"] for event in heard if event["type"] == "response.output_text.delta"] == [
            "Hello ",
            "there",
        ]
        with pytest.raises(InvalidStatus) as refused:
            converse(running, path="/v1/speak")
    scope.close()
    assert refused.value.response.status_code == 501
    assert b"a script answers here" in (refused.value.response.body or b"")


def test_what_has_changed_is_told_how_to_be_recorded_anew_and_the_rest_is_recorded(
    serve: Serve, talker: WebSocketProvider, root: Path
) -> None:
    with serve(record="missing", upstream=talker.url) as running:
        converse(running, '{"type": "ask", "for": "tea"}')
    before = recording(root)
    for record in (None, "missing"):
        with serve(record=record, upstream=talker.url) as running:
            with dial(running) as connection:
                connection.recv(60)
                connection.send('{"type": "ask", "for": "coffee"}')
                message = json.loads(connection.recv(60))["error"]["message"]
            if record is not None:
                converse(running, "another")
        assert "AQUILA_RECORD=all" in message
    kept, added = load_cassette(root / "x.yaml").interactions
    assert kept == before
    assert (">", b"another") in said(added)
    with serve(record="all", upstream=talker.url) as running:
        converse(running, '{"type": "ask", "for": "coffee"}')
    with serve(upstream=talker.url) as running:
        converse(running, '{"type": "ask", "for": "coffee"}')


def test_without_the_library_a_handshake_is_told_what_to_install(
    serve: Serve, talker: WebSocketProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "websockets.asyncio.server", None)
    with serve(record="missing", upstream=talker.url) as running, pytest.raises(InvalidStatus) as refused:
        converse(running)
    assert refused.value.response.status_code == 501
    assert b"pip install 'aquila-llm[websockets]'" in (refused.value.response.body or b"")


def test_a_code_that_nobody_may_send_breaks_the_connection(serve: Serve, root: Path) -> None:
    def speak(connection: ServerConnection) -> None:
        connection.send("last words")
        connection.close(4000)

    with (
        web_socket_server(speak) as provider,
        serve(record="missing", upstream=provider.url) as running,
        dial(running) as connection,
    ):
        assert list_until_closed(connection) == ["last words"]
    path = root / "x.yaml"
    path.write_text(path.read_text().replace("4000", "1015"))
    with serve(upstream=provider.url) as running, dial(running) as connection:
        assert list_until_closed(connection) == ["last words"]
    assert connection.close_code == 1006


def list_until_closed(connection: ClientConnection) -> list[str | bytes]:
    heard = []
    with contextlib.suppress(ConnectionClosed):
        while True:
            heard.append(connection.recv(60))
    return heard


def test_a_fault_of_a_text_ends_the_connection_at_the_client(
    serve: Serve, talker: WebSocketProvider, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with serve(record="missing", upstream=talker.url) as running:
        converse(running, "hi", path="/v1/responses")
    options = {"transport": "replay", "faults": "invalid_utf8(at=1)"}
    scope = Scope(kind="block", name="aquila serve", default_cassette="x", options=options)
    application = build_application(Proxy(lambda: scope, upstream=talker.url.replace("ws", "http", 1)), ADMISSION)
    with (
        BackgroundServer(application) as running,
        dial(running, "/v1/responses") as connection,
        pytest.raises(ConnectionClosedError) as ended,
    ):
        connection.recv(60)
    scope.close()
    assert ended.value.rcvd is None
    assert ended.value.sent is not None
    assert ended.value.sent.code == 1007
    assert "an error in Aquila" not in caplog.text


@pytest.mark.parametrize(("messages", "reading"), [(["hi", "ho"], "read"), (["hi"], "left")])
def test_whoever_judges_a_run_is_told_what_the_client_has_taken(
    serve: Serve, talker: WebSocketProvider, messages: list[str], reading: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(record="missing", upstream=talker.url) as running:
        converse(running, "hi", "ho")
    watch = WireWatch(time.monotonic)
    monkeypatch.setattr(current_run(), "wire_watch", watch)
    with serve(upstream=talker.url) as running:
        converse(running, *messages)
    assert [attempt.reading for attempt in watch.attempts] == [reading]


@pytest.mark.parametrize(
    ("fault", "seen"),
    [
        ("unauthorized", "refused 401"),
        ("rate_limit", "refused 429"),
        ("cut_stream(after=2)", "broken after 2"),
        ("abnormal_close(code=1012, after=2)", "closed 1012 after 2"),
        ("end_early", "closed 1000 after 3"),
    ],
)
def test_clients_of_the_server_meet_the_faults_of_what_was_recorded(root: Path, fault: str, seen: str) -> None:
    events = responses_events("one ", "two ", "three")
    asked = {"type": "response.create", "model": "m", "input": "hi"}
    chunks = tuple(store(sent(asked), *map(received, events), Close("client", 1000)))
    request = RecordedRequest("GET", "wss://api.openai.com/v1/responses")
    conversation = Interaction(request, RecordedResponse(101, chunks=chunks), kind="websocket")
    save_cassette(root / "x.yaml", Cassette.from_interactions([conversation, conversation]))

    def talk(running: BackgroundServer) -> str:
        count = 0
        try:
            with dial(running, "/v1/responses") as connection:
                connection.send(json.dumps(asked))
                while True:
                    event = json.loads(connection.recv(60))
                    if event["type"] == "error":
                        return f"error {event['error']['code']}"
                    count += 1
                    if event["type"] in ("response.completed", "response.incomplete"):
                        return f"{event['type']} after {count}"
        except InvalidStatus as error:
            return f"refused {error.response.status_code}"
        except ConnectionClosed as closed:
            return f"closed {closed.rcvd.code} after {count}" if closed.rcvd else f"broken after {count}"

    options = {"transport": "replay", "faults": fault}
    scope = Scope(kind="block", default_cassette="x", options=options)
    with BackgroundServer(build_application(Proxy(lambda: scope), ADMISSION)) as running:
        first, second = talk(running), talk(running)
    scope.close()
    assert first == seen
    assert second == f"response.completed after {len(events)}"  # each request meets it once


def end_server_when(read: Callable[[ClientSocket], bool], monkeypatch: pytest.MonkeyPatch) -> list[BackgroundServer]:
    """Let the server in the returned list begin to end when it has read from a client what ``read`` asks for."""
    servers: list[BackgroundServer] = []
    receive = ClientSocket.data_received
    ending: set[asyncio.Task[None]] = set()

    def data_received(self: ClientSocket, data: bytes) -> None:
        receive(self, data)
        if servers and not ending and read(self):
            ending.add(asyncio.get_running_loop().create_task(servers[0]._server.shutdown()))

    monkeypatch.setattr(ClientSocket, "data_received", data_received)
    return servers


def test_a_client_that_has_closed_when_the_server_ends_has_ended_its_conversation(
    serve: Serve, talker: WebSocketProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    with serve(record="missing", upstream=talker.url) as running:
        converse(running, "hi")
    servers = end_server_when(lambda client: client.protocol.close_rcvd is not None, monkeypatch)
    with serve(upstream=talker.url, log=RequestLog(str, lines.append)) as running:
        servers.append(running)
        converse(running, "hi")
    assert lines[0].startswith(f"GET {PATH} 101 replayed ")
    assert "ended" not in lines[0]


def test_a_miss_that_has_been_read_when_the_server_ends_is_in_the_log(
    serve: Serve, talker: WebSocketProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    with serve(record="missing", upstream=talker.url) as running:
        converse(running, "hi")
    servers = end_server_when(lambda client: True, monkeypatch)
    with serve(upstream=talker.url, log=RequestLog(str, lines.append)) as running, dial(running) as connection:
        assert connection.recv(60) == GREETING
        servers.append(running)
        connection.send("ho")
        with pytest.raises(ConnectionClosed):
            while True:  # there may be an event about the miss
                connection.recv(60)
    assert lines[0].startswith(f"GET {PATH} 101 missed ")
    assert "ho" in "\n".join(lines[1:])
