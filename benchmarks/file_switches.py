"""Counts how often four journeys go from one source file to another. A reader who follows them opens as many files.

``sys.setprofile`` reports each call. A call counts if its file belongs to Aquila and differs from the file of the
counted call before. The ``__init__`` of a dataclass does not count, because it only keeps its arguments. The figure is
exact, and the same on every machine.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import httpx2

import aquila
import aquila.cassettes.storage.cassette_files as cassette_files
from aquila.config import SettingsLayers
from aquila.recording.runtime import Run
from benchmarks.harness import Report, main

SOURCES = tuple(str(Path(aquila.__file__).parents[1] / package) + os.sep for package in ("aquila", "pytest_aquila"))
PIECES = 3
"""The number of pieces of text in a streamed response."""
FIRST = {"ask": 105, "foreign stream": 109, "perform_job": 100, "load YAML": 45}
"""The first counts. The aim is half of them."""


class SwitchCounter:
    """Counts the calls into another file than that of the call before, and lists them in ``visits``.

    A visit is a file, a function in it, and the line of Aquila that has called it, directly or through other packages.
    """

    def __init__(self) -> None:
        self.visits: list[tuple[str, str, str]] = []
        self._file = ""

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        file = frame.f_code.co_filename
        if event == "call" and file != self._file and file.startswith(SOURCES) and not _keeps_arguments(frame):
            self._file = file
            self.visits.append((_inside_source(file), frame.f_code.co_qualname, _find_caller(frame)))


def _keeps_arguments(frame: FrameType) -> bool:
    return frame.f_code.co_name == "__init__" and dataclasses.is_dataclass(frame.f_locals.get("self"))


def _inside_source(file: str) -> str:
    return file.rpartition(f"{os.sep}src{os.sep}")[2]


def _find_caller(frame: FrameType) -> str:
    caller = frame.f_back
    while caller is not None and not caller.f_code.co_filename.startswith(SOURCES):
        caller = caller.f_back
    return "" if caller is None else f"{_inside_source(caller.f_code.co_filename)}:{caller.f_lineno}"


def count_switches(journey: Callable[[], object]) -> SwitchCounter:
    """Count the file switches of one journey."""
    counter = SwitchCounter()
    sys.setprofile(counter)
    try:
        journey()
    finally:
        sys.setprofile(None)
    return counter


def _event(**delta: str) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": None if delta else "stop"}
    body = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return b"data: %s\n\n" % json.dumps(body).encode()


class _Pieces(httpx2.SyncByteStream):
    def __iter__(self) -> Iterator[bytes]:
        yield from (_event(content=f"word{number} ") for number in range(PIECES))
        yield from (_event(), b"data: [DONE]\n\n")


def _answer(request: httpx2.Request) -> httpx2.Response:
    if json.loads(request.content).get("stream"):
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, stream=_Pieces())
    message = {"role": "assistant", "content": "hi"}
    body = {"id": "c", "object": "chat.completion", "created": 1, "model": "m"}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    return httpx2.Response(200, json={**body, "choices": choices, "usage": usage})


def provider() -> httpx2.MockTransport:
    """Return the upstream from which the cassettes are recorded."""
    return httpx2.MockTransport(_answer)


def ask() -> object:
    """Ask and wait for the answer, which the endpoint sends as a stream."""
    return aquila.ask("hi", endpoint="chat")


def stream_with_openai() -> None:
    """Read a stream with a client that Aquila has not built."""
    import openai

    with openai.OpenAI(api_key="k", base_url="https://api.openai.com/v1", max_retries=0) as client:
        for _ in client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}], stream=True):
            pass


def journey_of_ask(_: Path) -> SwitchCounter:
    """``ask`` in a session that is open already."""
    with aquila.use_cassette("asked", transport="record", upstream="benchmarks.file_switches:provider"):
        for _number in range(3):
            ask()
    with aquila.use_cassette("asked"):
        ask()
        ask()
        return count_switches(ask)


def journey_of_foreign_stream(_: Path) -> SwitchCounter:
    """A stream of the openai client that is recorded, in a session that is open already."""
    with aquila.use_cassette("streamed", transport="record", upstream="benchmarks.file_switches:provider"):
        stream_with_openai()
        return count_switches(stream_with_openai)


def journey_of_perform_job(_: Path) -> SwitchCounter | None:
    """``perform_job`` of a task that asks no model."""
    try:
        from aquila.huey import MemoryHuey
        from aquila.huey.testing import perform_job, use_test_queue
    except ImportError:
        return None
    huey: Any = MemoryHuey("switches")

    @huey.task()
    def add(one: int, other: int) -> int:
        return one + other

    with use_test_queue(huey):
        perform_job(add, 1, 2)
        return count_switches(lambda: perform_job(add, 1, 2))


def journey_of_yaml(folder: Path) -> SwitchCounter:
    """Load a YAML cassette with two interactions once more, without a compiled copy."""
    with aquila.use_cassette("loaded", transport="record", upstream="benchmarks.file_switches:provider"):
        ask()
        stream_with_openai()
    file = folder / "cassettes" / "loaded.yaml"

    def load() -> SwitchCounter:
        cassette_files._loaded = cassette_files._LoadedCassettes(limit=0)  # as in a new process
        return count_switches(lambda: cassette_files.load_cassette(file))

    load()  # imports the modules that read YAML
    return load()


JOURNEYS: dict[str, Callable[[Path], SwitchCounter | None]] = {
    "ask": journey_of_ask,
    "foreign stream": journey_of_foreign_stream,
    "perform_job": journey_of_perform_job,
    "load YAML": journey_of_yaml,
}
"""Each is called with the folder of the project."""


def run(report: Report) -> None:
    """Count."""
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        stack.enter_context(Run(SettingsLayers(folder, defaults={"transport": "replay"})))
        followed = {name: journey(folder) for name, journey in JOURNEYS.items()}
    counted = {name: journey for name, journey in followed.items() if journey is not None}
    if "--visits" in sys.argv:
        for journey_name, journey in counted.items():
            report.rows((journey_name, "function", "called from"), journey.visits)
    rows = [(name, str(FIRST[name]), str(len(journey.visits))) for name, journey in counted.items()]
    report.rows(("journey", "first", "now"), rows)
    for name, journey in counted.items():
        report.aim(f"file switches of {name}", len(journey.visits), at_most=FIRST[name] / 2, unit="")


if __name__ == "__main__":
    main(run)
