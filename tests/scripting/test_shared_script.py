"""The server of a process that answers requests of other processes from its scripts."""

from __future__ import annotations

import json
import socket
import struct
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import closing

import pytest

from aquila.cassettes.model import RecordedRequest
from aquila.scripting import shared_script
from aquila.scripting.script import Gives, Script, ScriptedAnswer
from aquila.scripting.shared_script import RemoteScript, ScriptServer, ScriptUnreachable

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has named pipes in the place of sockets")

REQUEST = RecordedRequest("POST", "https://api.openai.com/v1/chat/completions", (), b'{"model": "m", "messages": []}')


@pytest.fixture
def server() -> Iterator[ScriptServer]:
    script = Script().reply("one")
    server = ScriptServer("key", lambda scope, cassette: script)
    yield server
    server.close()


def decide(server: ScriptServer, request: RecordedRequest = REQUEST) -> ScriptedAnswer | None:
    """Ask as another process does, for a minute at most: a server that does not answer lets everybody wait."""
    future: Future[ScriptedAnswer | None] = Future()

    def fill() -> None:
        try:
            future.set_result(RemoteScript("key", server.token, "scope").decide(request))
        except BaseException as error:  # noqa: BLE001 -- for the thread that waits
            future.set_exception(error)

    threading.Thread(target=fill, daemon=True).start()
    return future.result(60)


def ask(server: ScriptServer) -> bytes:
    answer = decide(server)
    assert answer is not None
    return answer.response.body


def test_a_stranger_that_announces_a_large_message_does_not_stop_the_server(server: ScriptServer) -> None:
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.connect(shared_script._address_of(shared_script._mark_of("key", server.token), None))
        stranger.sendall(struct.pack("!i", 100_000))  # the length of what would follow
        stranger.settimeout(60)
        while stranger.recv(100):  # until the server has hung up
            pass
    assert b"one" in ask(server)


def test_a_server_that_is_closed_leaves_no_thread() -> None:
    before = set(threading.enumerate())
    server = ScriptServer("key", lambda scope, cassette: Script().reply("one"))
    (serving,) = [each for each in threading.enumerate() if each not in before]
    assert b"one" in ask(server)
    server.close()
    serving.join(60)
    assert not serving.is_alive()
    with pytest.raises(ScriptUnreachable):
        ask(server)


def test_another_process_is_told_which_answer_is_the_last() -> None:
    script = Script().reply("one").reply("two")
    with closing(ScriptServer("key", lambda scope, cassette: script)) as server:
        answers = [decide(server) for _ in range(3)]
    assert [answer and answer.last for answer in answers] == [False, True, None]


def test_another_process_may_look_at_an_answer_before_it_takes_it(server: ScriptServer) -> None:
    remote = RemoteScript("key", server.token, "scope")
    unknown = RecordedRequest("POST", "https://example.com/", (), b"{}")
    assert [remote.may_answer(each) for each in (REQUEST, unknown)] == [True, False]
    assert remote.peek(unknown) is None
    seen = remote.peek(REQUEST)
    assert seen is not None
    assert b"one" in seen.body
    assert b"one" in ask(server)
    assert "answers any more" in remote.explain(REQUEST)


@pytest.mark.parametrize(("gives", "expected"), [("nothing", ["one", "two"]), ("answer", ["two", "one"])])
def test_a_fault_that_another_process_met_uses_up_what_the_program_has_got(gives: Gives, expected: list[str]) -> None:
    script = Script().reply("one").reply("two")
    with closing(ScriptServer("key", lambda scope, cassette: script)) as server:
        RemoteScript("key", server.token, "scope").note_fault(REQUEST, gives=gives)
        other = RecordedRequest("POST", REQUEST.url, (), b'{"model": "other", "messages": []}')
        answers = [decide(server, request) for request in (other, REQUEST)]
    said = [answer and json.loads(answer.response.body)["choices"][0]["message"]["content"] for answer in answers]
    assert said == expected


def test_the_script_of_a_test_that_has_ended_is_an_error() -> None:
    def find_script(scope: str, cassette: str | None) -> Script:
        raise LookupError(scope)

    with (
        closing(ScriptServer("key", find_script)) as server,
        pytest.raises(ScriptUnreachable, match="the test that wrote it has ended"),
    ):
        ask(server)
