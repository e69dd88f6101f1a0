"""WebSockets at the server: who may open one, that no key gets into files, and what is bounded. Over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.server import ServerConnection
from websockets.typing import Origin, Subprotocol

from aquila.cassettes.model import RecordedResponse
from aquila.cassettes.web_socket_frames.frame import Close, Frame, read_frames
from aquila.cli.serve import _redact_target
from aquila.intercept.web_sockets.proxied import UpstreamConversation
from aquila.recording.scope import Scope
from aquila.recording.storing.recorder import ScopeRecording
from aquila.server import socket_relay
from aquila.server.access_log import RequestLog
from aquila.server.admission import Admission
from aquila.server.application import build_application
from aquila.server.background_server import BackgroundServer
from aquila.server.client_socket import ClientSocket
from aquila.server.connection import BoundedConnection
from aquila.transports.callers.proxy import Proxy
from tests.server.conftest import ADMISSION, TOKEN, Serve
from tests.server.test_web_sockets import GREETING, HANDSHAKE, PATH, converse, dial, recording, said
from tests.support.real_hosts import authority, reachable
from tests.support.upstream import Upstream, streamed
from tests.support.web_sockets import WebSocketProvider, break_off, web_socket_server

KEY = "sk-" + "the-servers-key-0123456789"
CLIENT_KEY = "sk-" + "a-client-key-0123456789abc"
EPHEMERAL = "ek_" + "0123456789abcdef0123456789abcdef"


@pytest.fixture
def talker(root: Path) -> Iterator[WebSocketProvider]:
    """A provider that says back what it was told, after it has said how it was asked."""

    def speak(connection: ServerConnection) -> None:
        connection.send(json.dumps({"asked": connection.request.path if connection.request else ""}))
        for message in connection:
            connection.send(message)

    def choose(connection: ServerConnection, offered: Any) -> Any:
        return "realtime" if "realtime" in offered else None

    with web_socket_server(speak, select_subprotocol=choose) as running:
        yield running


def refusal(running: Any, path: str = PATH, **options: Any) -> tuple[int, str]:
    with pytest.raises(InvalidStatus) as refused:
        converse(running, path=path, **options)
    response = refused.value.response
    return response.status_code, json.loads(response.body or b"")["error"]["code"]


def test_a_page_of_another_origin_gets_no_web_socket(serve: Serve, talker: WebSocketProvider) -> None:
    lines: list[str] = []
    with serve(record="missing", upstream=talker.url, log=RequestLog(str, lines.append)) as running:
        port = running.address[1]
        for origin in ("https://evil.example", "null", f"http://localhost:{port}", "http://127.0.0.1:1"):
            assert refusal(running, origin=Origin(origin)) == (403, "foreign_page")
        assert refusal(running, additional_headers={"sec-fetch-site": "cross-site"}) == (403, "foreign_page")
        assert talker.paths == []
        assert converse(running, "hi", origin=Origin(running.url))[1] == "hi"
    assert all(line.startswith(f"GET {PATH} 403 refused ") for line in lines[:5])
    assert "origin" not in talker.headers[0]


def test_the_token_is_asked_for_and_may_stand_where_a_page_can_put_it(serve: Serve, talker: WebSocketProvider) -> None:
    admission = Admission(TOKEN, needs_token=True)
    with serve(record="missing", upstream=talker.url, key=KEY, admission=admission) as running:
        assert refusal(running) == (401, "no_token")
        assert refusal(running, path="/_aquila/reset") == (401, "no_token")
        shown = {"authorization": f"Bearer {TOKEN}"}
        assert refusal(running, path="/_aquila/reset", additional_headers=shown) == (404, "not_found")
        offered = [Subprotocol("realtime"), Subprotocol(f"openai-insecure-api-key.{TOKEN}")]
        with dial(running, subprotocols=offered) as connection:
            assert connection.subprotocol == "realtime"
            connection.recv(60)
        converse(running, "hi", path=f"{PATH}&key={TOKEN}")
        converse(running, "hi", additional_headers=shown)
    assert talker.headers[0]["sec-websocket-protocol"] == f"realtime, openai-insecure-api-key.{KEY}"
    assert talker.paths[1] == f"{PATH}&key={KEY}"
    assert talker.headers[2]["authorization"] == f"Bearer {KEY}"


def test_a_key_of_the_server_is_withheld_from_who_does_not_show_the_token(
    serve: Serve, talker: WebSocketProvider
) -> None:
    with serve(record="missing", upstream=talker.url, key=KEY) as running:
        dummy = {"authorization": "Bearer aquila-no-key"}
        assert refusal(running, additional_headers=dummy) == (401, "no_token")
        converse(running, "hi", additional_headers={"authorization": f"Bearer {TOKEN}"})
    assert len(talker.paths) == 1
    with serve(upstream=talker.url, key=KEY) as running:
        assert converse(running, "hi", additional_headers=dummy)[1] == "hi"


@pytest.mark.parametrize("key", [CLIENT_KEY, EPHEMERAL], ids=["key", "ephemeral"])
def test_no_key_gets_into_a_cassette_or_the_log(
    key: str, serve: Serve, talker: WebSocketProvider, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lines: list[str] = []
    offered = [Subprotocol("realtime"), Subprotocol(f"openai-insecure-api-key.{key}")]
    with serve(record="missing", upstream=talker.url, log=RequestLog(_redact_target, lines.append)) as running:
        converse(running, "hi", f"echoed {key}", path=f"{PATH}&key={key}", subprotocols=offered)
    with serve(upstream=talker.url) as running:
        assert converse(running, "hi", path=f"{PATH}&key={key}", subprotocols=offered)[1] == "hi"
    with (
        serve(upstream=talker.url, log=RequestLog(_redact_target, lines.append)) as running,
        dial(running, f"{PATH}&key={key}", subprotocols=offered) as connection,
    ):
        connection.send(f"changed {key}")
        with contextlib.suppress(ConnectionClosed):
            while True:
                connection.recv(60)
    written = "\n".join([*lines, caplog.text, *(path.read_text() for path in root.rglob("*.yaml"))])
    assert "realtime" in written
    assert "missed" in written
    assert key not in written


def test_conversations_name_their_cassette(serve: Serve, talker: WebSocketProvider, root: Path) -> None:
    with serve(record="missing", upstream=talker.url, cassette=None) as running:
        assert refusal(running) == (400, "ConfigError")
        converse(running, "hi", additional_headers={"x-aquila-cassette": "by/header"})
        converse(running, "hi", path=f"/@by%2Fpath{PATH}")
        assert refusal(running, path="/v1/../x") == (400, "invalid_request")
    assert talker.paths == [PATH, PATH]
    assert "x-aquila-cassette" not in talker.headers[0]
    assert said(recording(root, "by/header")) == said(recording(root, "by/path"))


def test_what_is_no_handshake_is_refused_and_nothing_is_asked(serve: Serve, talker: WebSocketProvider) -> None:
    good = "host: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
    key = "sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    bad = {
        f"GET {PATH} HTTP/1.1\r\n{good}\r\n": b"400",
        f"GET {PATH} HTTP/1.1\r\n{good.replace('13', '12')}{key}\r\n": b"400",
        f"POST {PATH} HTTP/1.1\r\n{good}{key}\r\n": b"400",
        f"GET {PATH} HTTP/1.1\r\n{good}{key}host: localhost\r\n\r\n": b"400",
        f"GET {PATH} HTTP/1.1\r\n{good}{key}content-length: 2\r\n\r\n{{}}": b"400",
        f"GET {PATH} HTTP/1.1\r\n{good}{key}\r\nmore": b"400",
        f"GET http://other.example{PATH} HTTP/1.1\r\n{good}{key}\r\n": b"400",
    }
    with serve(record="missing", upstream=talker.url) as running:
        for head, status in bad.items():
            with socket.create_connection(running.address, timeout=60) as raw:
                raw.sendall(head.encode())
                assert raw.recv(65536).split()[1] == status, head
    assert talker.paths == []


def test_a_handshake_behind_an_unfinished_request_does_not_mix_with_its_answer(
    serve: Serve, provider: Upstream, talker: WebSocketProvider
) -> None:
    hold = threading.Event()
    provider.script = lambda path, body: hold.wait(60) and streamed("late")  # type: ignore[assignment, return-value]
    first = b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\n\r\n"
    with serve(record="missing") as running, socket.create_connection(running.address, timeout=60) as raw:
        raw.sendall(first + HANDSHAKE)
        answered = raw.recv(65536)
        hold.set()
    assert b"101" not in answered.splitlines()[0]
    assert talker.paths == []


def test_a_message_that_is_too_large_ends_it_on_both_sides(serve: Serve, talker: WebSocketProvider, root: Path) -> None:
    with serve(record="missing", upstream=talker.url, largest_body=100_000) as running:
        with dial(running) as connection:
            connection.recv(60)
            connection.send("x" * 90_000)
            assert len(connection.recv(60)) == 90_000
            connection.send("x" * 100_001)
            with pytest.raises(ConnectionClosed):
                connection.recv(60)
        assert connection.close_code == 1009
    stored = recording(root)
    assert [len(data) for _, data in said(stored)][1:] == [90_000, 90_000]
    assert stored.response.end == "closed"


@pytest.mark.slow
def test_large_messages_pass_and_are_replayed(serve: Serve, talker: WebSocketProvider) -> None:
    large = [bytes([number]) * 1_000_000 for number in range(2)]
    for record in ("missing", None):
        with serve(record=record, upstream=talker.url) as running:
            assert converse(running, *large)[1:] == large
    assert len(talker.paths) == 1


@pytest.mark.slow
def test_a_client_that_never_reads_stops_the_provider_and_nobody_else(serve: Serve, root: Path) -> None:
    sent = [0]
    piece = "y" * 1_000_000
    ended = threading.Event()

    def speak(connection: ServerConnection) -> None:
        for message in connection:
            if message == "go on":
                with contextlib.suppress(ConnectionClosed):
                    for _ in range(300):
                        connection.send(piece)
                        sent[0] += 1
                ended.set()
            else:
                connection.send(message)

    with (
        web_socket_server(speak, compression=None) as provider,
        serve(record="missing", upstream=provider.url) as running,
        dial(running, compression=None, max_queue=1) as connection,
    ):
        connection.send("go on")
        with dial(running) as other:
            for number in range(300):  # each one gives the other conversation its turn
                other.send(str(number))
                assert other.recv(60) == str(number)
        assert sent[0] < 100  # what the system's buffers take, on three connections
        connection.close_socket()
        assert ended.wait(60)


@pytest.mark.slow
def test_a_replay_waits_for_a_client_that_does_not_read(serve: Serve, root: Path) -> None:
    def speak(connection: ServerConnection) -> None:
        for _ in range(20):
            connection.send("y" * 1_000_000)
        connection.close()

    with web_socket_server(speak, compression=None) as provider:
        with serve(record="missing", upstream=provider.url) as running, dial(running) as connection:
            assert len(list(connection)) == 20
        with serve(upstream=provider.url) as running, dial(running, compression=None, max_queue=1) as connection:
            assert httpx2.get(f"{running.url}/_aquila/health").status_code == 200
            assert len(list(connection)) == 20


def test_a_turn_is_written_before_the_client_gets_its_end(
    serve: Serve, talker: WebSocketProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []
    store_part = ScopeRecording.store_part

    def count(self: ScopeRecording, session: Any, decision: Any, response: RecordedResponse, number: int) -> None:
        store_part(self, session, decision, response, number)
        written.append(len(response.chunks))

    monkeypatch.setattr(ScopeRecording, "store_part", count)
    with serve(record="missing", upstream=talker.url) as running, dial(running) as connection:
        connection.recv(60)
        connection.send('{"type":"response.done"}')
        connection.recv(60)
        assert written == [3]


def test_a_tls_upstream_is_asked_under_its_name(serve: Serve, root: Path) -> None:
    def speak(connection: ServerConnection) -> None:
        connection.send(GREETING)
        for message in connection:
            connection.send(message)

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.num_tickets = 0
    authority().issue_cert("localhost").configure_cert(context)
    with web_socket_server(speak, tls=context) as provider:
        port = int(provider.url.rpartition(":")[2])
        upstream = f"wss://localhost:{port}"
        with serve(record="missing", upstream=upstream) as running:  # it does not trust the certificate
            assert refusal(running) == (502, "upstream_failed")
        with reachable({"localhost": port}), serve(record="all", upstream=upstream) as running:
            assert converse(running, "hi") == [GREETING, "hi"]
        assert [headers["host"] for headers in provider.headers] == [f"localhost:{port}"]
    with serve(upstream=upstream) as running:
        assert converse(running, "hi") == [GREETING, "hi"]
    assert recording(root).request.url == f"{upstream}{PATH}"


def test_a_message_is_passed_on_before_the_next_one_comes(serve: Serve, root: Path) -> None:
    heard = threading.Event()

    def speak(connection: ServerConnection) -> None:
        connection.send("one")
        assert heard.wait(60), "the first message was held back"
        connection.send("two")
        connection.close()

    with (
        web_socket_server(speak) as provider,
        serve(record="all", upstream=provider.url) as running,
        dial(running) as connection,
    ):
        assert connection.recv(60) == "one"
        heard.set()
        assert connection.recv(60) == "two"


@pytest.mark.parametrize("who", ["client", "server"])
def test_what_was_said_is_kept_where_a_client_goes_or_the_server_ends(
    who: str, serve: Serve, talker: WebSocketProvider, root: Path
) -> None:
    lines: list[str] = []
    logged = threading.Event()

    def note(line: str) -> None:
        lines.append(line)
        logged.set()

    with contextlib.ExitStack() as opened:
        with serve(record="missing", upstream=talker.url, log=RequestLog(str, note)) as running:
            connection = opened.enter_context(dial(running))
            connection.recv(60)
            connection.send("hi")
            assert connection.recv(60) == "hi"
            if who == "client":
                connection.close_socket()
                assert logged.wait(60)
        if who == "server":
            with pytest.raises(ConnectionClosed):
                connection.recv(60)
            assert (connection.close_code, connection.close_reason) == (1001, "the server ends")
    stored = recording(root)
    frames = list(read_frames(stored.response.chunks))
    assert [each.data for each in frames if isinstance(each, Frame)][1:] == [b"hi", b"hi"]
    assert not any(isinstance(each, Close) for each in frames)
    assert stored.response.end == "closed"
    assert f" 101 recorded, {'client left' if who == 'client' else 'server ended'} " in lines[0]
    with serve(upstream=talker.url) as running:
        assert converse(running, "hi")[1] == "hi"


def test_a_client_that_leaves_before_its_handshake_is_answered_is_replayed_so(serve: Serve, root: Path) -> None:
    arrived, left = threading.Event(), threading.Event()
    lines: list[str] = []

    def note(line: str) -> None:
        lines.append(line)
        left.set()

    def hold(connection: ServerConnection, request: Any) -> None:
        arrived.set()
        assert left.wait(60)

    with web_socket_server(lambda connection: None) as provider:
        provider.refuse = hold
        for record in ("missing", None):
            left.clear()
            with serve(record=record, upstream=provider.url, log=RequestLog(str, note)) as running:
                with socket.create_connection(running.address, timeout=60) as raw:
                    raw.sendall(HANDSHAKE)
                    if record is not None:
                        assert arrived.wait(60)
                assert left.wait(60)
    assert lines[0].startswith(f"GET {PATH} - left ")
    assert lines[1].startswith(f"GET {PATH} - ")  # nothing answers it either
    assert recording(root).response.end == "silent"


def test_more_connections_than_the_server_takes_get_a_503(serve: Serve, talker: WebSocketProvider) -> None:
    class Few(BoundedConnection):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.limit_concurrency = 3

    with (
        serve(record="missing", upstream=talker.url, connection=Few) as running,
        dial(running),
        dial(running),
        socket.create_connection(running.address, timeout=60) as raw,
    ):
        raw.sendall(HANDSHAKE)
        assert raw.recv(65536).startswith(b"HTTP/1.1 503 ")
    assert len(talker.paths) == 2


def test_a_reset_stores_what_was_said_and_replays_from_the_first_again(
    serve: Serve, talker: WebSocketProvider, root: Path
) -> None:
    with serve(record="missing", upstream=talker.url) as running:
        with dial(running) as connection:
            connection.recv(60)
            connection.send("hi")
            connection.recv(60)
            assert httpx2.post(f"{running.url}/_aquila/reset").status_code == 200
            assert len(said(recording(root))) == 3
            connection.send("unrecorded")
            assert connection.recv(60) == "unrecorded"
        assert converse(running, "hi")[1] == "hi"
    assert len(talker.paths) == 1


def test_a_replay_at_the_recorded_pace_takes_the_time_it_took(
    serve: Serve, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()

    def speak(connection: ServerConnection) -> None:
        connection.send("one")
        released.wait(0.3)
        connection.send("two")
        connection.close()

    monkeypatch.setenv("AQUILA_REPLAY_TIMING", "recorded")
    with (
        web_socket_server(speak) as provider,
        serve(record="missing", upstream=provider.url) as running,
        dial(running) as connection,
    ):
        assert list(connection) == ["one", "two"]
    began = time.monotonic()  # before all of it, so that a slow machine cannot make the wait look too short
    with serve(upstream=provider.url) as running, dial(running) as connection:
        assert list(connection) == ["one", "two"]
    assert time.monotonic() - began >= 0.25


def test_a_key_of_the_server_is_not_in_the_error_of_a_bad_url(
    serve: Serve, talker: WebSocketProvider, root: Path
) -> None:
    password = "pass" + "word-0123456789"
    bodies = []
    for upstream, mark in ((talker.url, "#f"), (talker.url.replace("//", f"//{password}@"), "")):
        with (
            serve(record="missing", upstream=upstream, key=KEY) as running,
            socket.create_connection(running.address, timeout=60) as raw,
        ):
            raw.sendall(HANDSHAKE.replace(PATH.encode(), f"{PATH}&key={TOKEN}&a=1{mark}".encode()))
            bodies.append(raw.makefile("rb").read().decode())
    assert bodies[0].startswith("HTTP/1.1 400 ")
    assert "send a # as %23" in bodies[0]
    assert bodies[1].startswith("HTTP/1.1 400 ")
    assert "no connection to the upstream can be made: InvalidURI: " in bodies[1]
    assert KEY not in "".join(bodies)
    assert password not in "".join(bodies)
    assert not list(root.rglob("*.yaml"))
    assert talker.paths == []


def test_a_proxy_that_is_none_is_told_without_its_password_and_not_recorded(
    serve: Serve, talker: WebSocketProvider, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    password = "pass" + "word-0123456789"
    monkeypatch.setenv("http_proxy", f"ftp://user:{password}@127.0.0.1:9")
    with (
        serve(record="missing", upstream="ws://provider.example") as running,
        pytest.raises(InvalidStatus) as refused,
    ):
        converse(running, proxy=None)
    said = (refused.value.response.body or b"").decode()
    assert "no connection to the upstream can be made: InvalidProxy: " in said
    assert password not in said
    assert not list(root.rglob("*.yaml"))


def test_a_refusal_has_one_length_and_one_connection_field(serve: Serve, talker: WebSocketProvider) -> None:
    with (
        serve(record="missing", upstream=talker.url) as running,
        socket.create_connection(running.address, timeout=60) as raw,
    ):
        raw.sendall(HANDSHAKE.replace(b"version: 13", b"version: 12"))
        head, _, body = raw.makefile("rb").read().lower().partition(b"\r\n\r\n")
    fields = head.split(b"\r\n")[1:]
    assert [each for each in fields if each.startswith(b"content-length:")] == [b"content-length: %d" % len(body)]
    assert [each for each in fields if each.startswith(b"connection:")] == [b"connection: close"]


def test_a_handshake_without_the_connection_field_is_told_so(serve: Serve, talker: WebSocketProvider) -> None:
    with serve(record="missing", upstream=talker.url) as running:
        answer = httpx2.get(f"{running.url}{PATH}", headers={"upgrade": "websocket"})
    assert answer.status_code == 400
    assert "needs the header field Connection: Upgrade" in answer.json()["error"]["message"]
    assert talker.paths == []


def test_a_client_that_leaves_while_the_provider_takes_nothing_in_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(socket_relay, "_LAST_WORDS_SECONDS", 0.1)
    logged, lines = threading.Event(), list[str]()

    def note(line: str) -> None:
        lines.append(line)
        logged.set()

    scope = Scope(kind="block", name="aquila serve", options={"transport": "live"})  # to record so much takes its time

    def stall(connection: ServerConnection) -> None:  # it takes in a message or two, and what the system's buffers hold
        logged.wait(60)
        break_off(connection)

    with web_socket_server(stall, compression=None, max_queue=1) as stalled:
        proxy = Proxy(lambda: scope, upstream=stalled.url.replace("ws", "http", 1))
        application = build_application(proxy, ADMISSION, log=RequestLog(str, note))
        with BackgroundServer(application) as running:
            with dial(running, compression=None) as connection:
                for size in (1, 1, 1, 1, 16_000_000):
                    connection.send(b"x" * size)
                connection.close_socket()
            assert logged.wait(60)
    scope.close()
    assert f"GET {PATH} 101 passed on, client left " in lines[0]


def test_an_error_of_the_system_in_a_conversation_does_not_refuse_it_as_if_none_had_begun(
    serve: Serve, talker: WebSocketProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: socket_relay.Relay) -> None:
        raise OSError("no space left")

    lines: list[str] = []
    monkeypatch.setattr(socket_relay.Relay, "run", fail)
    with (
        serve(record="missing", upstream=talker.url, log=RequestLog(str, lines.append)) as running,
        dial(running) as connection,
        pytest.raises(ConnectionClosed) as closed,
    ):
        connection.recv(60)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1011
    assert lines[0].startswith(f"GET {PATH} 101 failed ")


@pytest.mark.parametrize(("is_noted", "end"), [(True, "closed"), (False, "silent")])
def test_a_server_that_ends_before_it_has_answered_a_client_leaves_no_upstream_open(
    is_noted: bool, end: str, serve: Serve, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer of the upstream to the handshake is noted by then, or is not."""
    answering, connections = threading.Event(), []

    async def answer_never(self: object, headers: object) -> None:
        answering.set()
        await asyncio.Event().wait()

    async def connect(self: UpstreamConversation) -> Any:
        connections.append(await connect_really(self))
        if not is_noted:
            await answer_never(self, ())
        return connections[0]

    connect_really = UpstreamConversation.connect
    monkeypatch.setattr(UpstreamConversation, "connect", connect)
    monkeypatch.setattr(ClientSocket, "accept", answer_never)
    with (
        web_socket_server(lambda connection: connection.recv(60)) as provider,
        contextlib.ExitStack() as opened,
        serve(record="missing", upstream=provider.url) as running,
    ):
        raw = opened.enter_context(socket.create_connection(running.address, timeout=60))
        raw.sendall(HANDSHAKE)
        assert answering.wait(60)
    assert connections[0].transport.is_closing()
    assert recording(root).response.end == end
