"""A peer answers in the client's own thread. One of its own begins when something is due that no client asks for."""

from __future__ import annotations

import gc
import os
import threading
import warnings
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect as connect_in_thread

import aquila
from aquila.cassettes.model import Cassette, Interaction, RecordedRequest, RecordedResponse
from aquila.cassettes.storage.cassette_files import save_cassette
from aquila.cassettes.web_socket_frames.frame import Close, Frame, store_close, store_frame
from aquila.errors import CassetteMiss
from aquila.intercept.web_sockets import answering, peer
from aquila.recording import runtime
from tests.support.slow import slow_but
from tests.support.web_socket_clients import CLIENTS

URL = "wss://api.openai.com/v1/realtime"
SOCKETS_OF_LIBRARIES = {name: each for name, each in CLIENTS.items() if not name.startswith("httpx")}


@pytest.fixture
def recorded(root: Path) -> None:
    said = [("hello", True), ("one", False), ("two", False), ("more", True), ("three", False), ("last", True)]
    frames = [Frame(text.encode(), sent) for text, sent in said]
    chunks = (*map(store_frame, frames), store_close(Close("client", 1000)))
    interaction = Interaction(
        RecordedRequest("GET", URL), RecordedResponse(101, chunks=chunks, ended=500), kind="websocket"
    )
    save_cassette(root / "x.yaml", Cassette.from_interactions([interaction]))


def own_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "aquila-websocket"]


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize("name", slow_but(["websockets in threads", "websockets in a loop"], SOCKETS_OF_LIBRARIES))
def test_what_is_said_at_once_takes_no_thread(name: str) -> None:
    with aquila.use_cassette("x") as cassette:
        with SOCKETS_OF_LIBRARIES[name](URL) as talk:
            talk.send("hello")
            got = [talk.recv(), talk.recv()]
            talk.send("more")
            got.append(talk.recv())
            talk.send("last")
            assert not own_threads()
            talk.close()
        assert cassette.all_played
    assert got == ["one", "two", "three"]


@pytest.mark.usefixtures("recorded")
def test_a_reader_that_waits_before_the_question_gets_the_answers() -> None:
    with aquila.use_cassette("x", silence=0.2), connect_in_thread(URL) as connection:
        with pytest.raises(TimeoutError):
            connection.recv(0)
        connection.send("hello")
        assert [connection.recv(), connection.recv()] == ["one", "two"]
        with pytest.raises(CassetteMiss, match="> more"):
            connection.recv(60)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.usefixtures("recorded")
def test_a_forked_child_that_ends_its_use_of_the_cassette_breaks_nothing() -> None:
    with aquila.use_cassette("x"), connect_in_thread(URL) as connection:
        connection.send("hello")
        assert connection.recv() == "one"
        scope = runtime.current_run().scopes.innermost()
        assert scope is not None
        child = os.fork()
        if not child:
            try:
                scope.close()
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        assert connection.recv() == "two"
        connection.send("more")
        assert connection.recv() == "three"
        connection.send("last")


@pytest.mark.usefixtures("recorded")
def test_a_thread_begins_when_more_readers_wait_than_messages_are_there() -> None:
    with aquila.use_cassette("x"):
        conversation: Any = answering.answer_handshake(RecordedRequest("GET", URL))
        calls: list[str] = []
        conversation.connect(start_thread=lambda: calls.append("attended"), break_off=lambda: None)
        conversation.send(b"hello", is_text=True)
        assert [frame.data for _, frame in conversation.deliverable(1)] == [b"one", b"two"]
        conversation.begin_reading()
        conversation.begin_reading()
        assert not calls
        conversation.begin_reading()
        assert calls.pop()
        for error in (None, InterruptedError(), InterruptedError()):
            conversation.end_reading(error)
        conversation.begin_reading()
        assert calls  # nobody knows whether those who failed have lost a message


@pytest.mark.usefixtures("recorded")
def test_what_a_program_left_open_breaks_off_with_its_scope() -> None:
    with aquila.use_cassette("x"):
        connection = connect_in_thread(URL).__enter__()
        connection.send("hello")
        connection.recv()
    connection.recv_events_thread.join(60)
    assert not connection.recv_events_thread.is_alive()
    assert not own_threads()
    connection.close()


@pytest.mark.usefixtures("recorded")
def test_a_connection_that_was_dropped_leaves_no_socket_of_ours() -> None:
    with aquila.use_cassette("x"):
        conversation: Any = answering.answer_handshake(RecordedRequest("GET", URL))
        end: Any = peer.connect_to_peer(conversation)
        mine, its = end.fileno(), end.hand_over.__self__._end.fileno()
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            warnings.filterwarnings("ignore", f"unclosed .* fd={mine},")  # its own, which would keep it
            del end, conversation
            gc.collect()
        assert [str(each.message) for each in told if f"fd={its}," in str(each.message)] == []
