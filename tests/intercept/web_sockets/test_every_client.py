"""What every library for WebSockets gets: its conversations recorded, and replayed as they were."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import websocket

import aquila
from aquila.cassettes.model import Interaction
from aquila.cassettes.storage.cassette_files import load_cassette
from aquila.cassettes.web_socket_frames.frame import Close, Frame, read_frames
from aquila.errors import CassetteMiss, PlayedOut
from tests.support.alike import replayed_alike
from tests.support.slow import slow_but
from tests.support.web_socket_clients import CLIENTS, Closed, Connect, Refused, Talk
from tests.support.web_sockets import WebSocketProvider, break_off, web_socket_server

PATH = "/v1/realtime?model=m"


@pytest.fixture(
    params=slow_but(["websockets in a loop", "websockets in threads", "aiohttp", "websocket-client"], CLIENTS)
)
def connect(request: pytest.FixtureRequest) -> Connect:
    return CLIENTS[request.param]


def echo(connection: Any) -> None:
    connection.send('{"type":"session.created"}')
    while True:
        connection.send(connection.recv(60))


@pytest.fixture
def provider() -> Iterator[WebSocketProvider]:
    with web_socket_server(echo) as running:
        yield running


class Both:
    """Runs a program while its conversation is recorded, and again while it is replayed."""

    def __init__(self, connect: Connect, provider: WebSocketProvider, root: Path) -> None:
        self._connect = connect
        self._provider = provider
        self._root = root

    def __call__(self, use: Callable[[Talk], Any], **options: Any) -> Any:
        got = replayed_alike(lambda: self._run(use, options))
        assert len(self._provider.paths) == 1
        return got

    def record(self, use: Callable[[Talk], Any], **options: Any) -> Any:
        with aquila.use_cassette("x", transport="record"):
            return self._run(use, options)

    def replay(self, use: Callable[[Talk], Any], **options: Any) -> Any:
        asked = len(self._provider.paths)
        with aquila.use_cassette("x") as cassette:
            got = self._run(use, options)
            assert not cassette.misses
            assert cassette.all_played
        assert len(self._provider.paths) == asked
        return got

    def miss(self, use: Callable[[Talk], Any]) -> CassetteMiss:
        with aquila.use_cassette("x", silence=0.2) as cassette:
            with pytest.raises(CassetteMiss) as caught:
                self._run(use, {})
            assert [str(miss) for miss in cassette.misses] == [str(caught.value)]
        return caught.value

    def _run(self, use: Callable[[Talk], Any], options: dict[str, Any]) -> Any:
        with self._connect(self._provider.url + PATH, **options) as talk:
            return use(talk)

    @property
    def stored(self) -> Interaction:
        (interaction,) = load_cassette(self._root / "x.yaml").interactions
        return interaction

    def said(self) -> list[str]:
        """What was stored, in short."""
        rows = []
        for each in read_frames(self.stored.response.chunks):
            if isinstance(each, Close):
                rows.append(f"{each.by} closes: {each.code} {each.reason}".rstrip())
            else:
                rows.append(f"{'>' if each.sent else '<'} {each.data.decode() if each.is_text else repr(each.data)}")
        return rows


@pytest.fixture
def both(connect: Connect, provider: WebSocketProvider, root: Path) -> Both:
    return Both(connect, provider, root)


def talk_politely(talk: Talk) -> list[str | bytes]:
    got = [talk.recv()]
    for message in ("one", b"\x00two", '{"type": "three"}'):
        talk.send(message)
        got.append(talk.recv())
    talk.close()
    return got


def test_a_conversation_is_replayed_as_it_was_recorded(both: Both) -> None:
    assert both(talk_politely) == ['{"type":"session.created"}', "one", b"\x00two", '{"type": "three"}']
    assert both.said() == [
        '< {"type":"session.created"}',
        "> one",
        "< one",
        "> b'\\x00two'",
        "< b'\\x00two'",
        '> {"type": "three"}',
        '< {"type": "three"}',
        "client closes: 1000",
    ]
    stored = both.stored
    assert (stored.kind, stored.response.status, stored.response.end) == ("websocket", 101, "complete")
    assert not [name for name, _ in stored.response.headers if name.startswith("sec-")]


def test_an_aiohttp_without_a_method_for_frames_is_replayed_too(
    provider: WebSocketProvider, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As before 3.11."""
    monkeypatch.delattr(aiohttp.ClientWebSocketResponse, "send_frame")
    got = Both(CLIENTS["aiohttp"], provider, root)(talk_politely)
    assert got == ['{"type":"session.created"}', "one", b"\x00two", '{"type": "three"}']


def test_websocket_client_is_given_its_url_by_name(provider: WebSocketProvider, root: Path) -> None:
    def greet() -> str | bytes:
        client = websocket.WebSocket()
        with contextlib.closing(client):
            client.connect(url=provider.url + PATH)
            return client.recv()

    assert replayed_alike(greet) == '{"type":"session.created"}'


def test_a_test_sees_in_its_cassette_what_was_played(provider: WebSocketProvider, root: Path) -> None:
    both = Both(CLIENTS["websockets in threads"], provider, root)
    both.record(talk_politely)
    with aquila.use_cassette("x") as cassette:
        assert len(cassette.unplayed) == 1
        both._run(talk_politely, {})
        assert (cassette.play_count, cassette.record_count, cassette.all_played) == (1, 0, True)
        (sent,) = cassette.requests
        assert sent.method == "GET"
        assert sent.url.endswith(PATH)


def test_a_changed_message_is_a_miss_of_its_sender(both: Both) -> None:
    both.record(talk_politely)

    def change(talk: Talk) -> None:
        talk.recv()
        talk.send("one")
        talk.recv()
        try:
            talk.send("other")
        except CassetteMiss:
            with pytest.raises(Closed):  # as when a connection breaks
                talk.recv()
            raise

    miss = both.miss(change)
    assert "from message 2 of 3 that the client had sent" in str(miss)


def test_one_message_too_many_is_played_out(both: Both) -> None:
    both.record(lambda talk: (talk.recv(), talk.send("one"), talk.recv()))

    def go_on(talk: Talk) -> None:
        talk.recv()
        talk.send("one")
        talk.recv()
        talk.send("two")

    assert isinstance(both.miss(go_on), PlayedOut)


def test_a_refused_handshake_is_refused_again(both: Both, provider: WebSocketProvider) -> None:
    provider.refuse = lambda connection, request: connection.respond(401, '{"error":"no key"}\n')

    def fail() -> tuple[Any, ...]:
        with pytest.raises(Refused) as caught:
            both._run(lambda talk: None, {})
        return caught.value.args

    assert replayed_alike(fail) in [(401, b'{"error":"no key"}\n'), (401, b"")]  # aiohttp does not read the body
    assert len(provider.paths) == 1


def answer_and_hear_close(talk: Talk) -> tuple[Any, ...]:
    """Answer "bye", and return code and reason of the close that follows."""
    assert talk.recv() == "bye"
    talk.send("ok")
    with pytest.raises(Closed) as caught:
        talk.recv()
    return caught.value.args


@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (4001, "gone")])
def test_a_close_of_the_provider_keeps_code_and_reason(
    both: Both, provider: WebSocketProvider, code: int, reason: str
) -> None:
    def speak(connection: Any) -> None:
        connection.send("bye")
        connection.recv(60)
        connection.close(code, reason)

    provider.speak = speak

    assert both(answer_and_hear_close) == (code, reason)
    assert both.said() == ["< bye", "> ok", f"provider closes: {code} {reason}".rstrip()]


def test_a_close_of_the_provider_without_a_code_is_one_in_a_replay(both: Both, provider: WebSocketProvider) -> None:
    def speak(connection: Any) -> None:
        connection.send("bye")
        connection.recv(60)
        with connection.send_context():
            connection.protocol.send_close()

    provider.speak = speak

    both(answer_and_hear_close)
    assert both.said() == ["< bye", "> ok", "provider closes: 1005"]


def test_what_is_said_behind_a_close_is_no_miss(both: Both, provider: WebSocketProvider) -> None:
    def speak(connection: Any) -> None:
        connection.send("bye")
        connection.close(1011, "gone")

    provider.speak = speak

    def use(talk: Talk) -> str:
        assert talk.recv() == "bye"
        with pytest.raises(Closed):
            talk.recv()
        with contextlib.suppress(Exception):  # of the library, or none: some send it, and nobody hears it
            talk.send("are you there?")
        return "it goes on"

    assert both(use) == "it goes on"
    assert both.said() == ["< bye", "provider closes: 1011 gone"]


def test_a_connection_that_broke_breaks_again(both: Both, provider: WebSocketProvider) -> None:
    def speak(connection: Any) -> None:
        connection.send("half")
        connection.recv(60)
        break_off(connection)

    provider.speak = speak

    def use(talk: Talk) -> Any:
        assert talk.recv() == "half"
        talk.send("ok")
        with pytest.raises(Closed) as caught:
            talk.recv()
        return caught.value.code

    assert both(use) in (None, 1006)
    assert both.stored.response.end == "broken"


def test_the_code_with_which_the_client_closes_is_kept(both: Both) -> None:
    both(lambda talk: (talk.recv(), talk.close(4000, "enough")))
    assert both.said()[-1] == "client closes: 4000 enough"


def test_a_client_that_leaves_without_a_word_may_leave_again(both: Both) -> None:
    both(lambda talk: (talk.recv(), talk.leave()))
    assert both.said() == ['< {"type":"session.created"}']
    assert both.stored.response.end in ("broken", "closed")


def test_a_conversation_that_is_open_at_the_end_is_kept_as_it_is(
    connect: Connect, provider: WebSocketProvider, root: Path
) -> None:
    url = provider.url + PATH
    with aquila.use_cassette("x", transport="record"):
        leaving = connect(url)
        talk = leaving.__enter__()
        talk.recv()
        talk.send("one")
        talk.recv()
    leaving.__exit__(None, None, None)
    (stored,) = load_cassette(root / "x.yaml").interactions
    assert stored.response.end == "closed"
    assert len(stored.response.chunks) == 3


def test_a_reader_that_stops_waiting_may_stop_again_and_one_that_does_not_is_told(both: Both) -> None:
    def give_up(talk: Talk) -> None:
        talk.recv()
        with pytest.raises(TimeoutError):
            talk.recv(0.05)

    both(give_up)
    assert both.stored.response.end == "silent"
    miss = both.miss(lambda talk: (talk.recv(), talk.recv()))
    assert "the client left here" in str(miss)


def test_a_reader_of_an_answer_to_what_it_never_says_is_told(both: Both) -> None:
    both.record(talk_politely)
    miss = both.miss(lambda talk: (talk.recv(), talk.recv()))
    assert "one" in str(miss).partition("goes on when")[2]


def test_the_nth_handshake_gets_the_nth_conversation(connect: Connect, provider: WebSocketProvider, root: Path) -> None:
    counted = iter(["first", "second"])
    provider.speak = lambda connection: (connection.send(next(counted)), connection.recv(60))

    def use() -> list[str | bytes]:
        got = []
        for _ in range(2):
            with connect(provider.url + PATH) as talk:
                got.append(talk.recv())
                talk.close()
        return got

    with aquila.use_cassette("x", transport="record"):
        recorded = use()
    with aquila.use_cassette("x") as cassette:
        assert use() == recorded == ["first", "second"]
        assert cassette.all_played
        with pytest.raises(PlayedOut):
            use()


def test_a_connection_that_failed_fails_again(both: Both, provider: WebSocketProvider) -> None:
    provider.url = "ws://127.0.0.1:1"

    def fail() -> type[BaseException]:
        with pytest.raises(OSError, match="onnect") as caught:
            both._run(lambda talk: None, {})
        return caught.type

    assert replayed_alike(fail) is ConnectionRefusedError


def test_the_subprotocol_is_part_of_the_conversation_and_keys_are_not(connect: Connect, root: Path) -> None:
    with web_socket_server(echo, subprotocols=["realtime"]) as provider:
        both = Both(connect, provider, root)
        secret = "sk-proj-" + "a1B2" * 10
        options = {
            "headers": {"Authorization": f"Bearer {secret}"},
            "subprotocols": ["realtime", f"openai-insecure-api-key.{secret}"],
        }

        def say(talk: Talk) -> None:
            talk.recv(), talk.send(f"my key is {secret}"), talk.recv(), talk.close()

        both(say, **options)
    text = (root / "x.yaml").read_text(encoding="utf-8")
    assert secret not in text
    assert "realtime" in both.stored.response.first_header("sec-websocket-protocol")


def test_a_sender_may_run_ahead_of_its_reader(both: Both, provider: WebSocketProvider) -> None:
    def speak(connection: Any) -> None:
        for _ in range(20):
            connection.send(connection.recv(60))
        connection.recv(60)

    provider.speak = speak

    def use(talk: Talk) -> list[str | bytes]:
        for number in range(20):
            talk.send(str(number))
        return [talk.recv() for _ in range(20)]

    assert both(use) == list(map(str, range(20)))


def test_large_messages_and_many_of_them_pass(both: Both) -> None:
    large = "x" * 200_000

    def use(talk: Talk) -> int:
        talk.recv()
        for _ in range(2):
            talk.send(large)
        return sum(len(talk.recv()) for _ in range(2))

    assert both(use) == 400_000


def test_other_servers_of_this_machine_are_left_alone(
    connect: Connect, provider: WebSocketProvider, root: Path
) -> None:
    with aquila.use_cassette("x", transport="record"), connect(provider.url + "/shop") as talk:
        assert talk.recv()
        talk.close()
    assert not (root / "x.yaml").exists()
    with aquila.use_cassette("x"), connect(provider.url + "/shop") as talk:
        assert talk.recv()
        talk.close()
    assert len(provider.paths) == 2


def test_a_thread_reads_while_another_one_speaks(provider: WebSocketProvider, root: Path) -> None:
    both = Both(CLIENTS["websockets in threads"], provider, root)

    def use(talk: Talk) -> list[Any]:
        got: list[Any] = []

        def read() -> None:
            got.extend(talk.recv() for _ in range(11))

        reader = threading.Thread(target=read)
        reader.start()
        for number in range(10):
            talk.send(json.dumps({"number": number}))
        reader.join()
        return got

    both(use)
    assert len([each for each in read_frames(both.stored.response.chunks) if isinstance(each, Frame)]) == 21
