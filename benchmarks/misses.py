"""The time that a miss takes more than a replay, with a client that has its default retries.

The clock is wall time. A client that takes a miss for a failed connection sleeps for seconds before it retries. The
time includes the search for the nearest of a hundred recordings, and the explanation of the difference.
"""

from __future__ import annotations

import asyncio
import functools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import openai

import aquila
from aquila.cassettes.model import Cassette
from aquila.cassettes.storage import cassette_files
from aquila.config import SettingsLayers
from aquila.errors import CassetteMiss
from aquila.recording.runtime import Run
from benchmarks import traffic
from benchmarks.harness import Report, main, paired
from pytest_aquila.outcomes import make_outcome

RECORDINGS = 100
MOST_SECONDS = 0.1


def ask(via: openai.OpenAI, number: int) -> None:
    """One chat completion."""
    assert via.chat.completions.create(**traffic.body_of(number)).choices


def ask_async(number: int) -> None:
    """One chat completion of a client for asynchronous code."""

    async def go() -> None:
        async with openai.AsyncOpenAI(api_key="no-key") as via:
            assert (await via.chat.completions.create(**traffic.body_of(number))).choices

    asyncio.run(go())


def missing(ask: Callable[[int], None]) -> Callable[[], None]:
    """Return a function that sends a request without a recording, and expects ``CassetteMiss``."""

    def ask_in_vain() -> None:
        try:
            ask(RECORDINGS)
        except CassetteMiss:
            return
        raise AssertionError("it was answered, or the client hid the miss")

    return ask_in_vain


def run(report: Report) -> None:
    """Measure."""
    with tempfile.TemporaryDirectory() as name, Run(layers(Path(name))) as started:
        recordings = [traffic.interaction(number) for number in range(RECORDINGS)]
        cassette_files.save_cassette(Path(name) / "traffic.yaml", Cassette.from_interactions(recordings))
        started.make_outcome = make_outcome
        with openai.OpenAI(api_key="no-key") as client, aquila.use_cassette("traffic", repeat="last"):
            for title, asking in (
                ("openai.OpenAI()", functools.partial(ask, client)),
                ("openai.AsyncOpenAI()", ask_async),
            ):
                times = paired(
                    {"replayed": functools.partial(asking, 0), "missed": missing(asking)},
                    rounds=15,
                    clock=time.perf_counter,
                )
                report.table(f"A miss through {title} with its default retries", times, base="replayed")
                more = times.difference("missed", "replayed")
                report.aim(f"a miss through {title}", more, at_most=MOST_SECONDS, unit="s more than a replayed answer")


def layers(folder: Path) -> SettingsLayers:
    """Return the settings of a pytest run with the cassettes in ``folder``."""
    return SettingsLayers(
        folder, defaults={"transport": "replay"}, ini={"cassette_dir": str(folder)}, under_pytest=True
    )


if __name__ == "__main__":
    main(run)
