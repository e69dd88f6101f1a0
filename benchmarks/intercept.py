"""The time that interception adds: to a whole test with a foreign client, and to requests without a cassette."""

from __future__ import annotations

import asyncio
import functools
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import httpcore2
import httpx2
import openai

import aquila
from aquila.config import SettingsLayers
from aquila.intercept import activation
from aquila.recording import runtime
from benchmarks.harness import Report, duration, main, paired
from benchmarks.transports import CALL, KEY, SECOND, call, client, mock, within_cassettes, write


def small_test(report: Report, folder: Path) -> None:
    """A whole small test whose code builds an ordinary ``OpenAI()``."""
    write(folder, CALL, SECOND)
    contexts = within_cassettes(folder)

    def floor() -> None:
        with client(mock(CALL, SECOND)) as via:
            call(via, 0)
            call(via, 1)

    def foreign(name: str) -> Callable[[], None]:
        def test() -> None:
            with contexts[name](), openai.OpenAI(api_key=KEY, max_retries=0) as via:
                call(via, 0)
                call(via, 1)

        return test

    def in_a_run() -> None:
        foreign("aquila")()

    times = paired(
        {
            "floor": floor,
            "aquila": foreign("aquila"),
            "vcrpy": foreign("vcrpy"),
            "cassetter": foreign("cassetter"),
        },
        number=8,
    )
    report.table("A whole small test with a foreign client: enter, OpenAI(), two calls, leave", times, base="floor")
    report.aim("a whole small test, foreign client", times.ratio("aquila", "floor"), at_most=1.3, unit="x the floor")
    with _guarded(folder):
        times = paired({"floor": floor, "aquila": in_a_run}, number=8)
    report.table("The same while the guard of a test run is in force", times, base="floor")


def idle(report: Report, folder: Path) -> None:
    """Measure a request that Aquila ignores."""
    # A real connection pool on a network in memory: Aquila would take another transport for a mock, and not look at it.
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    transport = httpx2.HTTPTransport()
    transport._pool = httpcore2.ConnectionPool(network_backend=httpcore2.MockBackend([answer]))
    request = httpx2.Request("GET", "http://shop.example/orders")

    def bare() -> None:
        transport.handle_request(request).close()

    times = paired(
        {"bare": bare, "ignored host": bare, "no cassette": bare},
        number=200,
        within={
            "ignored host": lambda: aquila.use_cassette("traffic", ignore_hosts="shop.example"),
            "no cassette": functools.partial(_guarded, folder),
        },
    )
    report.table("A request that is let go, on a network in memory", times, base="bare")
    for name in ("ignored host", "no cassette"):
        extra = times.difference(name, "bare")
        report.note(f"{name}: {duration(extra)} more")
        report.aim(f"a request that is let go ({name})", extra * 1e6, at_most=20, unit="µs")


class _guarded:
    """A test run's guard, without a cassette."""

    def __init__(self, folder: Path) -> None:
        self._run = runtime.Run(SettingsLayers(root=folder, under_pytest=True))
        self._guard = activation.RunGuard()

    def __enter__(self) -> None:
        self._run.__enter__()
        self._guard.put_in_force()

    def __exit__(self, *error: object) -> None:
        self._guard.lift()
        self._run.__exit__(None, None, None)


def building(report: Report) -> None:
    """Measure how long it takes to build a client, with and without a cassette in use."""
    times = paired(
        {"outside": lambda: openai.OpenAI(api_key=KEY).close(), "inside": lambda: openai.OpenAI(api_key=KEY).close()},
        number=20,
        within={"inside": lambda: aquila.use_cassette("traffic")},
    )
    report.table("Building OpenAI()", times, base="outside")

    def build() -> None:
        asyncio.run(openai.AsyncOpenAI(api_key=KEY).close())

    times = paired(
        {"outside": build, "inside": build}, number=20, within={"inside": lambda: aquila.use_cassette("traffic")}
    )
    report.table("Building AsyncOpenAI()", times, base="outside")


def run(report: Report) -> None:
    """Measure."""
    with tempfile.TemporaryDirectory() as name:
        os.environ["AQUILA_CASSETTE_DIR"] = name
        small_test(report, Path(name))
        idle(report, Path(name))
        building(report)


if __name__ == "__main__":
    main(run)
