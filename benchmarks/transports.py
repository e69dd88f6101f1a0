"""The time of a replayed call through the openai client, beside the same client on an in-memory mock transport.

The mock transport is the floor: it returns constant bytes. Aquila cannot be faster without replacing the SDK.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cassetter
import httpx2
import openai
import vcr

import aquila
from aquila.cassettes.model import Cassette, Interaction
from aquila.cassettes.storage import cassette_files
from aquila.config import SettingsLayers
from aquila.recording import runtime
from aquila.testing import use_script
from benchmarks import traffic
from benchmarks.cassettes import load_copy
from benchmarks.harness import Report, main, paired

KEY = "no-key"
CALL = traffic.interaction(0)
STREAM = traffic.streamed(200)
SECOND = traffic.interaction(1)


def mock(*interactions: Interaction) -> httpx2.Client:
    """Return the floor: a client that gets the responses of some interactions, in turn, from memory."""
    answers = [(one.response.status, list(one.response.headers), one.response) for one in interactions]
    turn = [0]

    def handle(request: httpx2.Request) -> httpx2.Response:
        status, headers, response = answers[turn[0] % len(answers)]
        turn[0] += 1
        return httpx2.Response(status, headers=headers, stream=_Stream(response))

    return httpx2.Client(transport=httpx2.MockTransport(handle), timeout=600)


class _Stream(httpx2.SyncByteStream):
    def __init__(self, response: Any) -> None:
        self._chunks = [chunk.data for chunk in response.chunks]

    def __iter__(self) -> Iterator[bytes]:
        yield from self._chunks


def client(http_client: httpx2.Client | None = None) -> openai.OpenAI:
    """Return an openai client. Without ``http_client`` it has a real transport, as in code under test."""
    return openai.OpenAI(api_key=KEY, http_client=http_client, max_retries=0)


def call(via: openai.OpenAI, number: int = 0) -> None:
    """One chat completion."""
    assert via.chat.completions.create(**traffic.body_of(number)).choices


def stream(via: openai.OpenAI) -> None:
    """One streamed chat completion, read to its end."""
    count = sum(1 for _ in via.chat.completions.create(**traffic.body_of(0, stream=True)))
    assert count == 200


def within_cassettes(folder: Path) -> dict[str, Callable[[], contextlib.AbstractContextManager[object]]]:
    """Return for each subject a function that opens its cassette, with any number of replays."""

    @contextlib.contextmanager
    def opened() -> Iterator[None]:
        with aquila.use_cassette("traffic", repeat="last") as cassette:
            assert cassette.play_count == 0  # reads the file now, as the peers do
            yield

    played_again = {"record_mode": "none", "allow_playback_repeats": True}
    return {
        "aquila": opened,
        "vcrpy": lambda: vcr.use_cassette(str(folder / "traffic.vcr.yaml"), **played_again),
        "vcrpy, matching bodies": lambda: vcr.use_cassette(
            str(folder / "traffic.vcr.yaml"), match_on=["method", "uri", "body"], **played_again
        ),
        "cassetter": lambda: cassetter.use_cassette(folder / "traffic.cassetter.yaml", record_mode="none"),
    }


def write(folder: Path, *interactions: Interaction) -> None:
    """Write the same cassette in the form of each subject."""
    cassette_files.save_cassette(folder / "traffic.yaml", Cassette.from_interactions(interactions))
    traffic.write_as_vcrpy(folder / "traffic.vcr.yaml", interactions)
    traffic.write_as_cassetter(folder / "traffic.cassetter.yaml", interactions)


def one_call(report: Report, folder: Path) -> None:
    """Measure a replayed call and a replayed stream with an open client and cassette."""
    for title, interaction, action, number, short in (
        ("One replayed chat completion", CALL, call, 40, "call"),
        ("A replayed stream of 200 chunks", STREAM, stream, 4, "stream"),
    ):
        write(folder, interaction)
        routed = client(aquila.http_client())
        clients = {
            "floor": client(mock(interaction)),
            "aquila": routed,
            "vcrpy": client(),
            "cassetter": client(),
        }
        if short == "call":
            clients["vcrpy, matching bodies"] = client()
        times = paired(
            {name: functools.partial(action, via) for name, via in clients.items()},
            number=number,
            within=within_cassettes(folder),
        )
        report.table(title, times, base="floor")
        report.aim(f"one replayed {short}", times.ratio("aquila", "floor"), at_most=1.03, unit="x the floor")


def scripted(report: Report, folder: Path) -> None:
    """Compare a scripted response with a replayed one."""
    for title, interaction, action, number, short in (
        ("One scripted chat completion", CALL, call, 40, "call"),
        ("A scripted stream of 200 chunks", STREAM, stream, 4, "stream"),
    ):
        write(folder, interaction)

        @contextlib.contextmanager
        def by_hand() -> Iterator[None]:
            with use_script() as script:
                # The same number of events as in the recorded stream: the client takes most of the time to read them.
                pieces = ["word "] * (200 - EVENTS_WITHOUT_TEXT) if short == "stream" else ["word"]  # noqa: B023
                script.when(model="*").reply(chunks=pieces, usage=False)
                yield

        times = paired(
            {"replayed": functools.partial(action, client()), "scripted": functools.partial(action, client())},
            number=number,
            within={"replayed": within_cassettes(folder)["aquila"], "scripted": by_hand},
        )
        report.table(title, times, base="replayed")
        report.aim(f"one scripted {short}", times.ratio("scripted", "replayed"), at_most=1.05, unit="x a replayed one")


EVENTS_WITHOUT_TEXT = 2
"""The number of events without text in a scripted stream: the first and the last."""

TESTS = 80
"""The number of cassettes of the small tests: more than Aquila keeps in memory."""


keep_copies = [False]
"""Whether copies of cassettes are kept, as they are under pytest."""


def small_test(report: Report, folder: Path) -> None:
    """Measure a whole small test: enter, build a client, two calls, leave. Each test has a cassette of its own."""
    for test in range(2 * TESTS):
        write(folder / str(test), traffic.interaction(2 * test), traffic.interaction(2 * test + 1))
    for test in range(TESTS):
        load_copy(folder / str(test) / "traffic.yaml", folder / "copies")  # as an earlier run has left it
    turns = {name: itertools.cycle(range(TESTS)) for name in ("floor", "aquila", "vcrpy", "cassetter")}
    # Other cassettes, because those that one subject has read stay in memory for the next.
    others = itertools.cycle(range(TESTS, 2 * TESTS))

    def calls(via: openai.OpenAI, test: int) -> None:
        with via:
            call(via, 2 * test)
            call(via, 2 * test + 1)

    def floor() -> None:
        calls(client(mock(CALL, SECOND)), next(turns["floor"]))

    def through_aquila(turn: Iterator[int], *, copies: bool = True) -> None:
        test = next(turn)
        keep_copies[0] = copies
        with aquila.use_cassette(f"{test}/traffic"):
            calls(client(aquila.http_client()), test)

    def through(peer: str) -> None:
        test = next(turns[peer])
        with within_cassettes(folder / str(test))[peer]():
            calls(client(), test)

    times = paired(
        {
            "floor": floor,
            "aquila": functools.partial(through_aquila, turns["aquila"]),
            "aquila, first run ever": functools.partial(through_aquila, others, copies=False),
            "aquila, test run before": functools.partial(through_aquila, itertools.repeat(0)),
            "vcrpy": functools.partial(through, "vcrpy"),
            "cassetter": functools.partial(through, "cassetter"),
        },
        number=8,
    )
    report.table("A whole small test: enter, build OpenAI(), two calls, leave", times, base="floor")
    report.aim("a whole small test", times.ratio("aquila", "floor"), at_most=1.3, unit="x the floor")
    report.note(
        "The peers patch the transport of an ordinary OpenAI(), which loads a TLS context of some milliseconds; "
        "Aquila's client has none. The first run ever reads YAML and leaves the copies that later ones read."
    )


def run(report: Report) -> None:
    """Measure."""
    with tempfile.TemporaryDirectory() as name:
        os.environ["AQUILA_CASSETTE_DIR"] = name
        folder = Path(name)
        with runtime.Run(SettingsLayers(root=folder, copies=lambda: folder / "copies" if keep_copies[0] else None)):
            one_call(report, folder)
            scripted(report, folder)
            small_test(report, folder)


if __name__ == "__main__":
    main(run)
