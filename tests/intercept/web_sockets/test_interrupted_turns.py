"""The garbage collector and signals interrupt any line. What they run there may use the connection that is at work."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.client import ClientProtocol
from websockets.uri import parse_uri

import aquila
from aquila.cassettes.model import Cassette, Interaction, RecordedRequest, RecordedResponse
from aquila.cassettes.storage.cassette_files import save_cassette
from aquila.cassettes.web_socket_frames.frame import Close, Frame, store_close, store_frame
from aquila.errors import SessionClosed
from aquila.intercept.web_sockets import answering, peer
from aquila.intercept.web_sockets.turns import Turns

URL = "wss://api.openai.com/v1/realtime"
LIMIT = 30
"""Seconds after which a thread that should be done is held to be stuck."""


class Talk:
    """A client that has sent its handshake, over the socket that clients are given."""

    def __init__(self) -> None:
        self.conversation: Any = answering.answer_handshake(RecordedRequest("GET", URL))
        self.end = peer.connect_to_peer(self.conversation)
        self.its_end: Any = self.end.hand_over.__self__._end  # type: ignore[attr-defined]
        self.protocol = ClientProtocol(parse_uri(URL))
        self.protocol.send_request(self.protocol.connect())
        self.flush()
        self.protocol.receive_data(self.end.recv(65536))

    def flush(self) -> None:
        self.end.sendall(b"".join(self.protocol.data_to_send()))

    def send(self, message: bytes) -> None:
        self.conversation.send(message, is_text=True)
        self.protocol.send_text(message)
        self.flush()

    def send_close(self) -> None:
        self.protocol.send_close(1000)
        self.flush()

    def read_all(self) -> list[Any]:
        """What comes until the connection ends, but for the handshake: the data of each frame."""
        self.end.settimeout(LIMIT)
        while data := self.end.recv(65536):
            self.protocol.receive_data(data)
        return [bytes(event.data) for event in self.protocol.events_received()[1:]]

    def interrupt(self, act: Callable[[], object]) -> threading.Event:
        """Let what is said next be interrupted by ``act``, once. The event is set when that is over."""
        deliverable, is_over, kept = self.conversation.side.deliverable, threading.Event(), [Dropped(act)]

        def collect() -> Any:
            found = deliverable()
            kept.clear()
            gc.collect()
            is_over.set()
            return found

        self.conversation.side.deliverable = collect
        return is_over


class Dropped:
    """Garbage that only the collector finds, and that does something then, as a transport does that is not closed."""

    def __init__(self, act: Callable[[], object]) -> None:
        self._act = act
        self.itself = self

    def __del__(self) -> None:
        self._act()


@pytest.fixture
def recorded(root: Path) -> None:
    frames = [Frame(text.encode(), sent) for text, sent in [("hello", True), ("one", False), ("more", True)]]
    chunks = (*map(store_frame, frames), store_close(Close("client", 1000)))
    response = RecordedResponse(101, chunks=chunks, ended=500)
    interaction = Interaction(RecordedRequest("GET", URL), response, kind="websocket")
    save_cassette(root / "x.yaml", Cassette.from_interactions([interaction]))


@pytest.fixture
def scope(recorded: None) -> Iterator[Any]:
    with aquila.use_cassette("x", silence=LIMIT) as cassette:
        yield cassette


@pytest.fixture
def talk(scope: Any) -> Iterator[Talk]:
    talk = Talk()
    yield talk
    begin(talk.end.close).join(LIMIT)  # where a thread is stuck this would be, too, and so would the end of the scope
    talk.conversation.note_disconnected()


def begin(work: Callable[..., object], *args: object) -> threading.Thread:
    thread = threading.Thread(target=work, args=args, daemon=True)  # one that is stuck must not hold up the end
    thread.start()
    return thread


def hello(talk: Talk) -> threading.Thread:
    return begin(talk.send, b"hello")


def wait_for_message(talk: Talk) -> threading.Thread:
    return begin(talk.conversation.begin_reading)  # a thread of the peer says what is due


def own_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "aquila-websocket"]


@pytest.mark.parametrize("work", [hello, wait_for_message])
def test_garbage_that_closes_the_connection_is_collected_in_its_midst(
    talk: Talk, work: Callable[[Talk], threading.Thread]
) -> None:
    is_over = talk.interrupt(talk.end.close)
    working = work(talk)
    assert is_over.wait(LIMIT)
    working.join(LIMIT)
    for thread in own_threads():  # it may have begun one
        thread.join(LIMIT)
    assert talk.its_end.fileno() == -1


@pytest.mark.parametrize("work", [hello, wait_for_message])
def test_garbage_that_says_good_bye_is_collected_in_the_midst_of_an_answer(
    talk: Talk, work: Callable[[Talk], threading.Thread]
) -> None:
    """As a dropped coroutine does, which leaves the block of its connection."""
    is_over = talk.interrupt(talk.send_close)
    work(talk)
    assert is_over.wait(LIMIT)
    said = [b"one"] if work is hello else []
    assert talk.read_all() == [*said, b"\x03\xe8"]  # the answer to it


def test_a_sender_is_collected_in_the_midst_of_an_answer(talk: Talk) -> None:
    is_over = talk.interrupt(talk.conversation.note_unsent)
    hello(talk)
    assert is_over.wait(LIMIT)
    talk.send_close()
    assert talk.read_all() == [b"one", b"\x03\xe8"]


def test_a_message_that_would_come_between_the_halves_of_another_is_an_error(talk: Talk) -> None:
    errors: list[BaseException] = []

    def send() -> None:
        try:
            talk.send(b"more")
        except RuntimeError as error:
            errors.append(error)

    is_over = talk.interrupt(send)
    hello(talk)
    assert is_over.wait(LIMIT)
    assert "interrupted" in str(errors.pop())
    talk.send(b"more")  # one that comes behind it is none


def test_after_ctrl_c_where_a_turn_begins_other_threads_get_their_turns() -> None:
    class Struck:
        """The lock of the turns, where Ctrl-C comes just after it was taken."""

        def __init__(self, lock: Any) -> None:
            self.lock = lock

        def acquire(self, blocking: bool = True) -> bool:
            if self.lock.acquire(blocking):
                raise KeyboardInterrupt
            return False

        def __getattr__(self, name: str) -> Any:
            return getattr(self.lock, name)

    turns, done = Turns(), []
    lock = turns._lock
    for begin_turn in (turns.take, turns.do_or_queue):
        turns._lock = Struck(lock)  # type: ignore[assignment]
        with pytest.raises(KeyboardInterrupt):
            begin_turn(lambda: done.append("queued"))
        turns._lock = lock
        begin(turns.take, lambda: done.append("next")).join(LIMIT / 3)
    assert done == ["next", "next", "queued"]


def test_a_scope_ends_while_a_thread_is_in_the_midst_of_an_answer(talk: Talk) -> None:
    is_at_work, goes_on = threading.Event(), threading.Event()

    def wait() -> None:
        is_at_work.set()
        goes_on.wait(LIMIT)

    talk.interrupt(wait)
    sender = begin(talk.send, b"hello")
    assert is_at_work.wait(LIMIT)
    ending = begin(talk.conversation.end_with_scope)
    ending.join(LIMIT / 3)
    was_stuck = ending.is_alive()
    goes_on.set()
    sender.join(LIMIT)
    assert not was_stuck
    assert not sender.is_alive()
    with pytest.raises(SessionClosed):
        talk.conversation.tell_failure()
