"""Conversations of many messages, and of long pauses: bounded memory, and the recorded pace without waiting for it."""

from __future__ import annotations

import contextlib
import json
import re
import selectors
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.client import ClientProtocol
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame as WebSocketFrame
from websockets.server import ServerProtocol
from websockets.sync.client import connect
from websockets.uri import parse_uri

import aquila
from aquila.cassettes.body_file import StoredChunks
from aquila.cassettes.matching.match_rules import MatchRules
from aquila.cassettes.model import Cassette, Interaction, RecordedRequest, RecordedResponse
from aquila.cassettes.storage.cassette_files import load_cassette, save_cassette
from aquila.cassettes.storage.large_bodies import move_interaction_out
from aquila.cassettes.web_socket_frames.frame import Close, Frame, read_frames, store_close, store_frame
from aquila.cassettes.web_socket_frames.replay import ConversationReplay
from aquila.cassettes.web_socket_frames.stored_frames import StoredFrames, open_frames, senders_of
from aquila.errors import CassetteWriteError
from aquila.intercept.web_sockets import answering, peer, recorded_side
from aquila.intercept.web_sockets.replayed import ReplayedConversation
from aquila.recording import runtime
from aquila.recording.storing import frame_recorder
from tests.support.web_sockets import web_socket_server

KEY = "sk-proj-a1B2a1B2a1B2a1B2a1B2"
TURNS, FRAMES = 3, 60


@pytest.fixture
def small_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A recording keeps few bytes in memory."""
    monkeypatch.setattr(frame_recorder, "LARGE_STREAM", 3_000)


def say_much(connection: Any) -> None:
    for turn in range(TURNS):
        connection.recv(60)
        for number in range(FRAMES):
            connection.send(json.dumps({"type": "delta", "n": number, "said": f"{turn} and {KEY} ."}))
        connection.send(b"\x00\r" + KEY.encode())
        connection.send('{"type": "response.done"}')


def listen(url: str) -> list[str | bytes]:
    heard: list[str | bytes] = []
    with connect(url) as connection:
        for turn in range(TURNS):
            connection.send(f"question {turn}")
            while not heard or heard[-1] != '{"type": "response.done"}' or len(heard) // (FRAMES + 2) <= turn:
                heard.append(connection.recv())
    return heard


def without_key(message: str | bytes) -> bytes:
    data = message.encode() if isinstance(message, str) else message
    return re.sub(rb"sk-proj-\w+|\[redacted\]", b"KEY", data)


@pytest.mark.usefixtures("small_limit")
def test_what_is_not_kept_in_memory_is_replayed_as_it_was(root: Path) -> None:
    with web_socket_server(say_much) as provider:
        url = f"{provider.url}/v1/realtime"
        with aquila.use_cassette("x", transport="record"):
            recorded = listen(url)
    with aquila.use_cassette("x") as cassette:
        replayed = listen(url)
        assert cassette.all_played
    assert len(replayed) == len(recorded) == TURNS * (FRAMES + 2)
    assert [without_key(message) for message in replayed] == [without_key(message) for message in recorded]
    (interaction,) = load_cassette(root / "x.yaml").interactions
    assert isinstance(interaction.response.chunks, StoredChunks)
    frames = [frame for frame in read_frames(interaction.response.chunks) if isinstance(frame, Frame)]
    assert len(frames) == len(recorded) + TURNS
    assert not [frame for frame in frames if KEY.encode() in frame.data]
    assert not any(KEY.encode() in path.read_bytes() for path in root.rglob("*") if path.is_file())


@pytest.mark.usefixtures("small_limit")
@pytest.mark.parametrize("limit", [2_000, 20_000], ids=["in memory", "on disk"])
def test_one_that_never_ends_is_given_up_and_leaves_nothing(
    root: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(frame_recorder, "MOST_BYTES", limit)

    def never_stop(connection: Any) -> None:
        connection.recv(60)
        while True:
            connection.send(json.dumps({"type": "response.done", "said": "x" * 100}))

    run = runtime.current_run()
    with (
        web_socket_server(never_stop) as provider,
        aquila.use_cassette("x", transport="record"),
        connect(f"{provider.url}/v1/realtime?token={KEY}", close_timeout=0) as connection,
    ):
        connection.send("begin")
        with pytest.raises(CassetteWriteError, match=rf"more than {limit:,} bytes") as caught:
            for _ in range(limit):
                connection.recv(60)
        assert connection.recv(60)  # a program that swallows the error goes on
    assert KEY not in str(caught.value)
    assert [str(caught.value)] == run.unstored
    assert not [path.name for path in root.rglob("*") if path.is_file() and path.name != ".gitignore"]


@pytest.mark.usefixtures("small_limit")
def test_a_handshake_reads_no_message_where_nobody_judges_faults(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with web_socket_server(say_much) as provider:
        url = f"{provider.url}/v1/realtime"
        with aquila.use_cassette("x", transport="record"):
            recorded = listen(url)
    counted: list[object] = []
    monkeypatch.setattr(recorded_side, "is_from_provider", counted.append)
    with aquila.use_cassette("x"):
        assert len(listen(url)) == len(recorded)
    assert not counted


def test_frames_in_a_file_are_those_that_were_stored(tmp_path: Path) -> None:
    frames = [Frame(b'{"n": %d, "pad": "%b"}' % (number, b"x" * 1500), number % 2000 == 0) for number in range(4000)]
    chunks = (*map(store_frame, frames), store_close(Close("provider", 1000)))
    interaction = Interaction(
        RecordedRequest("GET", "wss://x/"), RecordedResponse(101, chunks=chunks), kind="websocket"
    )
    moved = move_interaction_out(interaction, tmp_path).response.chunks
    assert isinstance(moved, StoredChunks)
    found, close = open_frames(moved)
    assert isinstance(found, StoredFrames)
    assert close == Close("provider", 1000)
    assert list(found) == frames
    assert [found[place] for place in (3_999, 0, 1_700, 1_701, 255, 256)] == [
        frames[place] for place in (3_999, 0, 1_700, 1_701, 255, 256)
    ]
    replay = ConversationReplay(moved, "complete", rules=MatchRules(), redact=lambda data: data)
    got: list[Frame] = []
    for frame in frames:
        if frame.sent:
            assert replay.take_sent(frame.data, True) is None
            while some := replay.deliverable():
                assert len(some) <= 1000
                got += some
    assert got == [frame for frame in frames if not frame.sent]
    assert replay.ended == close


def test_a_close_before_the_end_of_a_file_is_no_frame(tmp_path: Path) -> None:
    """As none is recorded; but a file may have been written by hand."""
    frames = [Frame(b"%d" % number + b"x" * 2_000_000, number == 1) for number in range(3)]
    chunks = [store_frame(frame) for frame in frames]
    chunks.insert(1, store_close(Close("provider", 1001)))
    interaction = Interaction(
        RecordedRequest("GET", "wss://x/"), RecordedResponse(101, chunks=tuple(chunks)), kind="websocket"
    )
    found, close = open_frames(move_interaction_out(interaction, tmp_path).response.chunks)
    assert (list(found), close) == (frames, Close("provider", 1001))
    assert [bool(each) for each in senders_of(found).by_client] == [False, True, False]


def test_a_message_above_the_limit_of_the_client_is_its_error_again(root: Path) -> None:
    def speak(connection: Any) -> None:
        connection.send("x" * 5000)
        connection.recv(60)

    def listen(url: str) -> ConnectionClosed:
        with connect(url, max_size=1000) as connection, pytest.raises(ConnectionClosed) as caught:
            connection.recv()
        return caught.value

    with web_socket_server(speak) as provider:
        url = f"{provider.url}/v1/realtime"
        with aquila.use_cassette("x", transport="record"):
            assert "1009" in str(listen(url))
    with aquila.use_cassette("x"):
        listen(url)


class Clock(selectors.DefaultSelector):
    """A selector that lets the time it would wait pass at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        self.now += timeout or 0.0
        return []


def test_pauses_are_as_they_were_recorded(root: Path) -> None:
    """Three minutes pass, for which nobody waits."""
    clock = Clock()
    frames = [Frame(b"hello", True, at=1000), Frame(b"one", False, at=1500), Frame(b"two", False, at=61_500)]
    chunks = (*map(store_frame, frames), store_close(Close("provider", 1000, at=181_500)))
    interaction = Interaction(
        RecordedRequest("GET", "wss://api.openai.com/v1/realtime"),
        RecordedResponse(101, chunks=chunks, started=5, ended=181_500),
        kind="websocket",
    )
    save_cassette(root / "x.yaml", Cassette.from_interactions([interaction]))
    with aquila.use_cassette("x", replay_timing=1.0):
        conversation = answering.answer_handshake(interaction.request)
        assert isinstance(conversation, ReplayedConversation)
        mine, its = socket.socketpair()
        with mine, its:
            provider = peer._Peer(its, conversation, ServerProtocol(max_size=None))
            clock.register(its, selectors.EVENT_READ)
            provider._selector = clock  # as if a thread looked at it
            client = ClientProtocol(parse_uri("ws://localhost/"))

            def tell() -> None:
                for data in client.data_to_send():
                    assert provider.take(data)

            def come() -> Iterator[tuple[float, bytes]]:
                mine.setblocking(False)
                while client.close_rcvd is None:
                    said_at = clock.now
                    provider._go_on(clock)  # says what is due, and waits
                    with contextlib.suppress(BlockingIOError):
                        client.receive_data(mine.recv(65536))
                    for event in client.events_received():
                        if isinstance(event, WebSocketFrame):
                            yield round(said_at, 2), bytes(event.data[:3])

            client.send_request(client.connect())
            tell()
            client.receive_data(mine.recv(65536))
            client.events_received()
            conversation.send(b"hello", is_text=True)
            client.send_text(b"hello")
            tell()
            assert list(come()) == [(0.5, b"one"), (60.5, b"two"), (180.5, b"\x03\xe8")]


@pytest.mark.slow
@pytest.mark.usefixtures("small_limit")
def test_many_small_messages_are_recorded_and_replayed(root: Path) -> None:
    count = 30_000

    def speak(connection: Any) -> None:
        connection.recv(60)
        for number in range(count):
            connection.send(str(number))
        connection.recv(60)

    def listen(url: str) -> list[Any]:
        with connect(url, ping_interval=None) as connection:
            connection.send("go")
            return [connection.recv() for _ in range(count)]

    with web_socket_server(speak, ping_interval=None) as provider:
        url = f"{provider.url}/v1/realtime"
        with aquila.use_cassette("x", transport="record"):
            recorded = listen(url)
    with aquila.use_cassette("x"):
        assert listen(url) == recorded == [str(number) for number in range(count)]
    (interaction,) = load_cassette(root / "x.yaml").interactions
    assert isinstance(interaction.response.chunks, StoredChunks)
    assert (root / "x.yaml").stat().st_size < 20 * count


def test_a_provider_that_never_closes_ends_with_its_test(root: Path) -> None:
    stops = threading.Event()

    def speak(connection: Any) -> None:
        with contextlib.suppress(ConnectionClosed):
            while not stops.is_set():
                connection.send("more")

    def listen(url: str) -> list[Any]:
        with connect(url) as connection:
            heard = [connection.recv() for _ in range(5)]
            connection.close_socket()  # without a word: it would wait for one of the provider's
        return heard

    with web_socket_server(speak) as provider:
        url = f"{provider.url}/v1/realtime"
        with aquila.use_cassette("x", transport="record"):
            assert listen(url) == ["more"] * 5
        stops.set()
    (interaction,) = load_cassette(root / "x.yaml").interactions
    assert interaction.response.end == "closed"
    with aquila.use_cassette("x"):
        assert listen(url) == ["more"] * 5
