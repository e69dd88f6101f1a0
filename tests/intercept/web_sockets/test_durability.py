"""A recording that is killed within a conversation loses no turn that was finished. With real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

import aquila
from aquila.cassettes.model import RecordedResponse
from aquila.cassettes.storage.cassette_files import load_cassette
from aquila.cassettes.web_socket_frames.frame import Frame, read_frames
from aquila.recording.storing.interrupted_runs import find_waiting_recordings, recover_journals
from aquila.recording.storing.recorder import ScopeRecording
from tests.support.web_sockets import web_socket_server

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs signals")

IN_THREAD = """
import sys
import aquila
from websockets.sync.client import connect

with aquila.use_cassette("x", transport="record"), connect(sys.argv[1]) as connection:
    for number in range(1000):
        connection.send(f"question {number}")
        while "done" not in (message := connection.recv()):
            pass
        print(number, flush=True)
"""

IN_LOOP = """
import asyncio, sys
import aquila
from websockets.asyncio.client import connect

async def go():
    async with connect(sys.argv[1]) as connection:
        for number in range(1000):
            await connection.send(f"question {number}")
            while "done" not in await connection.recv():
                pass
            print(number, flush=True)

with aquila.use_cassette("x", transport="record"):
    asyncio.run(go())
"""

TURNS = 3


def answering(stops_at: threading.Event) -> Callable[[Any], None]:
    """Answer each question in pieces. The fourth one is answered by half, and the other half never comes."""

    def speak(connection: Any) -> None:
        for number in range(TURNS + 1):
            connection.recv(60)
            connection.send(f'{{"type":"response.delta","delta":"answer {number}"}}')
            if number == TURNS:
                stops_at.set()
                connection.recv(60)
            connection.send('{"type":"response.done"}')

    return speak


def start(program: str, root: Path, url: str, *arguments: str) -> subprocess.Popen[bytes]:
    """Start a program that is no child of this run, and keeps its cassettes in ``root``."""
    surroundings = {name: value for name, value in os.environ.items() if name != "AQUILA_RUN"}
    surroundings["AQUILA_CASSETTE_DIR"] = str(root)
    command = [sys.executable, "-c", program, f"{url}/v1/realtime", *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=surroundings, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL)


def killed_within(program: str, root: Path, how: signal.Signals) -> None:
    reached = threading.Event()
    with web_socket_server(answering(reached)) as provider, start(program, root, provider.url) as process:
        assert reached.wait(120)
        process.send_signal(how)
        assert process.stdout is not None
        assert process.stdout.read().split() == [b"0", b"1", b"2"]


@pytest.mark.parametrize(
    "program",
    [pytest.param(IN_THREAD, id="in a thread", marks=pytest.mark.slow), pytest.param(IN_LOOP, id="in a loop")],
)
def test_a_kill_loses_no_finished_turn(program: str, root: Path) -> None:
    killed_within(program, root, signal.SIGKILL)
    assert find_waiting_recordings(root) == [("x", 1)]
    recovered = recover_journals(root)
    assert [count for _, count in recovered.cassettes] == [1]
    assert recovered.failures == []
    (stored,) = load_cassette(root / "x.yaml").interactions
    assert (stored.kind, stored.response.status) == ("websocket", 101)
    frames = [each for each in read_frames(stored.response.chunks) if isinstance(each, Frame)]
    said = [each.data.decode() for each in frames if each.sent]
    assert said[:TURNS] == ["question 0", "question 1", "question 2"]
    assert sum(b"response.done" in each.data for each in frames) == TURNS


@pytest.mark.slow
def test_what_ctrl_c_ends_is_kept_beside_or_stored(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    reached = threading.Event()
    pytester.makepyfile(
        """
        import os
        from websockets.sync.client import connect

        def test_it(aquila_cassette):
            with connect(os.environ["PROVIDER"]) as connection:
                for number in range(1000):
                    connection.send(f"question {number}")
                    while "done" not in connection.recv():
                        pass
        """
    )
    with web_socket_server(answering(reached)) as provider:
        monkeypatch.setenv("PROVIDER", provider.url + "/v1/realtime")
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-W", "ignore", "--aquila-record"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=pytester.path) as process:
            assert reached.wait(120)
            process.send_signal(signal.SIGINT)
            output, _ = process.communicate()
    assert "KeyboardInterrupt" in output
    cassettes = pytester.path / "cassettes"
    recover_journals(cassettes)
    (path,) = cassettes.rglob("*.yaml")
    (stored,) = load_cassette(path).interactions
    frames = [each for each in read_frames(stored.response.chunks) if isinstance(each, Frame)]
    assert sum(b"response.done" in each.data for each in frames) == TURNS


@pytest.mark.parametrize("ending", ['{"type":"response.done"}', b'{"serverContent":{"turnComplete":true}}'])
def test_a_turn_is_written_at_its_end_and_not_while_the_client_goes_on(
    ending: str | bytes, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []
    store_part = ScopeRecording.store_part

    def count(self: ScopeRecording, session: Any, decision: Any, response: RecordedResponse, number: int) -> None:
        written.append(len(response.chunks))
        store_part(self, session, decision, response, number)

    monkeypatch.setattr(ScopeRecording, "store_part", count)

    def speak(connection: Any) -> None:
        for _ in range(10):
            connection.recv(60)
        connection.send(ending)
        connection.recv(60)

    with (
        web_socket_server(speak) as provider,
        aquila.use_cassette("x", transport="record"),
        connect(provider.url + "/v1/realtime") as connection,
    ):
        for number in range(10):
            connection.send(f'{{"type":"input_audio_buffer.append","audio":"{number}"}}')
        assert connection.recv(60) == ending
        assert written == [11]


@pytest.mark.slow
def test_parts_hold_no_secrets(root: Path) -> None:
    secret = "sk-proj-" + "a1B2" * 10
    reached = threading.Event()

    def speak(connection: Any) -> None:
        connection.recv(60)
        for piece in (secret[:20], secret[20:]):
            connection.send(f'{{"type":"response.output_text.delta","item_id":"a","delta":"{piece}"}}')
        connection.send('{"type":"response.done"}')
        connection.recv(60)
        reached.set()
        connection.recv(60)

    program = IN_THREAD.replace("connect(sys.argv[1])", f"connect(sys.argv[1] + '?key={secret}')")
    with web_socket_server(speak) as provider, start(program, root, provider.url) as process:
        assert reached.wait(120)
        process.kill()
    written = b"".join(path.read_bytes() for path in root.rglob("*") if path.is_file())
    assert b"redacted" in written
    assert secret[:20].encode() not in written
    assert secret[20:].encode() not in written


REPLAYING = """
import sys
import aquila
from websockets.sync.client import connect

with aquila.use_cassette("x", transport=sys.argv[2]), connect(sys.argv[1]) as connection:
    for number in range(3):
        connection.send(f"question {number}")
        while "done" not in connection.recv():
            pass
        print(number, flush=True)
        if number == 1 and len(sys.argv) > 3:
            sys.stdin.read()
"""


@pytest.mark.slow
def test_a_replay_that_is_killed_leaves_nothing_and_can_be_had_again(root: Path) -> None:
    with web_socket_server(answering(threading.Event())) as provider:
        url = provider.url
        with start(REPLAYING, root, url, "record") as recording:
            assert recording.communicate(timeout=120)[0].split() == [b"0", b"1", b"2"]
    before = (root / "x.yaml").read_bytes()
    for how in ("replay", "record"):  # what is there is replayed while what is missing is recorded, too
        with start(REPLAYING, root, url, how, "waits") as replaying:
            assert replaying.stdout is not None
            assert [replaying.stdout.readline().strip() for _ in range(2)] == [b"0", b"1"]
            replaying.kill()
        recover_journals(root)
        assert find_waiting_recordings(root) == []
        assert (root / "x.yaml").read_bytes() == before
    with start(REPLAYING, root, url, "replay") as again:
        assert again.communicate(timeout=120)[0].split() == [b"0", b"1", b"2"]
