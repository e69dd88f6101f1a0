"""Conversations over WebSockets: a replay beside an echo in the same process, the cost of a recording, and memory.

The floor is the same openai client at one end of a pair of sockets. When it sends a message, the server's side of the
same library writes the same frames at the other end, and compares nothing. It writes them in the thread of the client,
as Aquila does. Another thread would compete with the client for the interpreter, and the floor would depend on chance.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import openai
from websockets.exceptions import ConnectionClosed
from websockets.server import ServerProtocol
from websockets.sync.server import ServerConnection, serve

import aquila
from aquila.cassettes.model import Cassette, Interaction, RecordedRequest, RecordedResponse
from aquila.cassettes.storage.cassette_files import save_cassette
from aquila.cassettes.web_socket_frames.frame import Close, Frame, store_close, store_frame
from benchmarks.harness import QUICK, Report, duration, in_process, main, paired_clocks

FRAMES = 200
KEY = "no-key"
URL = "wss://api.openai.com/v1/responses"
LOCAL = "ws://localhost/v1"


def said_in(turn: int) -> str:
    """Return the message of the client in a turn."""
    return f"question {turn}: " + "what else is there to know about eagles? " * 5


def answers(turn: int, count: int) -> list[bytes]:
    """Return the frames of the provider in a turn. The last frame ends the turn."""
    response_id = f"resp_{turn:032x}"
    place = {"item_id": f"msg_{turn:032x}", "output_index": 0, "content_index": 0, "logprobs": []}
    events: list[dict[str, Any]] = [
        {"type": "response.output_text.delta", "sequence_number": number, **place, "delta": f" word{number}"}
        for number in range(count - 1)
    ]
    response = {"id": response_id, "object": "response", "created_at": 1, "model": "gpt-4.1-mini", "output": []}
    response |= {"status": "completed", "tools": [], "tool_choice": "auto", "parallel_tool_calls": True}
    events.append({"type": "response.completed", "sequence_number": count, "response": response})
    return [json.dumps(event).encode() for event in events]


class Conversation:
    """A conversation of several turns. In each turn, several messages answer one message of the client."""

    def __init__(self, turns: int, *, frames: int = FRAMES) -> None:
        self.turns = turns
        self.answers = [answers(turn, frames // turns - 1) for turn in range(turns)]

    def as_interaction(self) -> Interaction:
        """Return the conversation as a recorded interaction."""
        frames: list[Frame] = []
        for turn, said in enumerate(self.answers):
            body = {"type": "response.create", "input": said_in(turn), "model": "gpt-4.1-mini"}
            frames.append(Frame(json.dumps(body).encode(), True))
            frames += [Frame(one, False) for one in said]
        chunks = (*map(store_frame, frames), store_close(Close("client", 1000)))
        request = RecordedRequest("GET", URL, (("accept", "application/json"), ("content-type", "application/json")))
        return Interaction(request, RecordedResponse(101, chunks=chunks), kind="websocket")

    def talk(self, client: openai.OpenAI, **options: Any) -> int:
        """Have the conversation with the sync client. Returns the number of received messages."""
        seen = 0
        with client.responses.connect(**options) as connection:
            for turn in range(self.turns):
                connection.response.create(model="gpt-4.1-mini", input=said_in(turn))
                for event in connection:
                    seen += 1
                    if event.type == "response.completed":
                        break
        return seen

    async def talk_in_loop(self, client: openai.AsyncOpenAI, **options: Any) -> int:
        """Have the conversation with the async client. Returns the number of received messages."""
        seen = 0
        async with client.responses.connect(**options) as connection:
            for turn in range(self.turns):
                await connection.response.create(model="gpt-4.1-mini", input=said_in(turn))
                async for event in connection:
                    seen += 1
                    if event.type == "response.completed":
                        break
        return seen


class Echo(socket.socket):
    """The floor's end of a connection. It answers each message with the next of ``answers``."""

    def __init__(self, answers: Sequence[Sequence[bytes]]) -> None:
        mine, self._other_end = socket.socketpair()
        super().__init__(mine.family, mine.type, mine.proto, fileno=mine.detach())
        self._answers = iter(answers)
        self._protocol = ServerProtocol(max_size=None)
        self._is_open = False

    def send(self, data: Any, *flags: int) -> int:
        """Send all data, and answer each message in it."""
        self.sendall(data)
        return len(data)

    def sendall(self, data: Any, *flags: int) -> None:
        """Send all data, and answer each message in it."""
        protocol = self._protocol
        protocol.receive_data(bytes(data))
        for event in protocol.events_received():
            if not self._is_open:
                protocol.send_response(protocol.accept(event))  # type: ignore[arg-type]
                self._is_open = True
            elif event.opcode == 1:  # type: ignore[union-attr]
                for message in next(self._answers):
                    protocol.send_text(message)
        out = protocol.data_to_send()
        self._other_end.sendall(b"".join(out))
        if out and not out[-1]:  # nothing follows a close
            self._other_end.close()

    def setsockopt(self, *args: Any) -> None:
        """Do nothing: the options of clients are for TCP."""


@contextlib.contextmanager
def replaying(folder: Path, conversation: Conversation) -> Iterator[None]:
    """Record a conversation, and replay it any number of times within the block."""
    save_cassette(folder / "talk.yaml", Cassette.from_interactions([conversation.as_interaction()]))
    with aquila.use_cassette("talk", repeat="last"):
        yield


def in_threads(conversation: Conversation) -> dict[str, Callable[[], object]]:
    """Return the floor and the replay of a conversation for the sync client."""
    floor = openai.OpenAI(api_key=KEY, websocket_base_url=LOCAL, max_retries=0)
    replayed = openai.OpenAI(api_key=KEY, max_retries=0)
    return {
        "floor": lambda: conversation.talk(
            floor,
            websocket_connection_options={"sock": Echo(conversation.answers)},
        ),
        "aquila": lambda: conversation.talk(replayed),
    }


def in_loops(conversation: Conversation, runner: asyncio.Runner) -> dict[str, Callable[[], object]]:
    """Return the floor and the replay of a conversation for the async client."""
    floor = openai.AsyncOpenAI(api_key=KEY, websocket_base_url=LOCAL, max_retries=0)
    replayed = openai.AsyncOpenAI(api_key=KEY, max_retries=0)
    return {
        "floor": lambda: runner.run(
            conversation.talk_in_loop(floor, websocket_connection_options={"sock": Echo(conversation.answers)})
        ),
        "aquila": lambda: runner.run(conversation.talk_in_loop(replayed)),
    }


def replays(report: Report, folder: Path) -> None:
    """Replay conversations of different shapes."""
    with asyncio.Runner() as runner:
        for turns in (1, 10, FRAMES // 2):
            conversation = Conversation(turns)
            with replaying(folder, conversation):
                for client, subjects in (
                    ("OpenAI", in_threads(conversation)),
                    ("AsyncOpenAI", in_loops(conversation, runner)),
                ):
                    title = f"{FRAMES} frames in {turns} turns, {client}"
                    by_clock = paired_clocks(subjects, (time.process_time, time.perf_counter), rounds=61, warm=5)
                    for what, times in zip(("CPU", "wall"), by_clock, strict=True):
                        report.table(f"{title}, {what}", times, base="floor")
                        report.aim(f"{title}, {what}", times.ratio("aquila", "floor"), at_most=1.1, unit="x the floor")


_PEAK = """
import resource, sys

def peak():
    if sys.platform == "linux":  # there the figure of getrusage includes the memory of the parent process
        return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 * 1024 if sys.platform == "darwin" else 1024)
"""

_TALK = (
    _PEAK
    + """
import contextlib, json, time
import openai
from benchmarks.web_sockets import Conversation
mode, url, turns, frames, folder = sys.argv[1:6]
conversation = Conversation(int(turns), frames=0)
if mode == "plain":
    within = contextlib.nullcontext()
else:
    import aquila
    within = aquila.use_cassette("talk", transport=mode, cassette_dir=folder, loopback="all")
client = openai.OpenAI(api_key="no-key", websocket_base_url=url, max_retries=0)

with within:
    start = time.process_time()
    seen = conversation.talk(client)
    taken, during = time.process_time() - start, peak()
print(json.dumps([taken, during, peak(), seen]))
"""
)


@contextlib.contextmanager
def provider() -> Iterator[tuple[str, list[Sequence[Sequence[bytes]]]]]:
    """Run a loopback server. Yields its URL and a list, whose first element answers each connection."""
    told: list[Sequence[Sequence[bytes]]] = []

    def speak(connection: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            for said in told[0]:
                connection.recv()
                for message in said:
                    connection.send(message.decode())
            connection.recv()

    with serve(speak, "127.0.0.1", 0, compression=None) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}/v1", told
        server.shutdown()
        thread.join()


def memory(report: Report, folder: Path) -> None:
    """Measure the peak memory of long conversations that are recorded and replayed."""
    report.heading("Most memory above that of the client alone")
    rows = []
    worst: dict[str, float] = {}
    cost: dict[str, float] = {}
    with provider() as (url, told):
        for count in (1_000, 10_000) if QUICK else (1_000, 10_000, 100_000):
            turns = count // 500
            told[:] = [Conversation(turns, frames=count).answers]
            taken: dict[str, Any] = {
                mode: in_process(_TALK, mode, url, str(turns), str(count), str(folder / str(count)))
                for mode in ("plain", "record", "replay")
            }
            plain = taken["plain"]
            row = [f"{count:,} frames"]
            for mode in ("record", "replay"):
                cpu, during, after, seen = taken[mode]
                assert seen == plain[3]
                added = (cpu - plain[0]) / count
                row += [f"{during - plain[2]:.1f} MB", f"{after - plain[2]:.1f} MB", duration(added)]
                cost[mode] = added * 1e3
                worst[mode] = after - plain[2]
            rows.append(row)
    columns = ("", "recording", "and stored", "a frame", "replaying", "and closed", "a frame")
    report.rows(columns, rows)
    report.note("A frame: the CPU time that is added to it, over a loopback socket in all three.")
    report.aim("recording, added to a frame", cost["record"], at_most=0.2, unit="ms")
    for mode, value in worst.items():
        report.aim(f"{mode}, memory above the client alone", value, at_most=100, unit="MB")


_LISTEN = (
    _PEAK
    + """
import contextlib, json
from websockets.sync.client import connect
mode, url, count, folder = sys.argv[1:5]
if mode == "plain":
    within = contextlib.nullcontext()
else:
    import aquila
    within = aquila.use_cassette("many", transport=mode, cassette_dir=folder, loopback="all")

with within:
    with connect(url, compression=None) as connection:
        for turn in range(int(count) // 500):
            connection.send(f"question {turn}")
            for _ in range(499):
                connection.recv()
    during = peak()
print(json.dumps([during, peak()]))
"""
)


def list_of_messages(report: Report, folder: Path) -> None:
    """Measure the memory for each short message: its place in the file, and its time."""
    report.heading("Most memory above that of the client alone, messages of 20 bytes")
    counts = (10_000, 20_000) if QUICK else (200_000, 400_000)
    rows = []
    with provider() as (url, told):
        for count in counts:
            told[:] = [[[b'{"type": "x", "n":1}'] * 499] * (count // 500)]
            taken: dict[str, Any] = {
                mode: in_process(_LISTEN, mode, url, str(count), str(folder / f"many-{count}"))
                for mode in ("plain", "record", "replay")
            }
            rows.append([high - taken["plain"][1] for mode in ("record", "replay") for high in taken[mode]])
    columns = ("", "recording", "and stored", "replaying", "and closed")
    more = [(high - low) / (counts[1] - counts[0]) * 1024 * 1024 for low, high in zip(*rows, strict=True)]
    report.rows(
        columns,
        [
            *(
                [f"{count:,} messages", *(f"{each:.1f} MB" for each in row)]
                for count, row in zip(counts, rows, strict=True)
            ),
            ["one more", *(f"{each:.0f} B" for each in more)],
        ],
    )
    if not QUICK:  # few messages are kept in memory whole
        report.aim("a message more in a recording that is stored", more[1], at_most=200, unit="B")
        report.aim("a message more in a replay", more[2], at_most=60, unit="B")


def run(report: Report) -> None:
    """Measure."""
    with tempfile.TemporaryDirectory() as name:
        os.environ["AQUILA_CASSETTE_DIR"] = name
        replays(report, Path(name))
        memory(report, Path(name))
        list_of_messages(report, Path(name))


if __name__ == "__main__":
    main(run)
