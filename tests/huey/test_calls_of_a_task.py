"""A task stays cheap: the functions of Aquila that are called for it are counted, the same on every machine."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import pytest

import aquila
from aquila.huey import MemoryHuey
from aquila.huey.testing import drain_queue, perform_job, use_test_queue

SOURCES = str(Path(aquila.__file__).parent) + os.sep


def count_calls(journey: Callable[[], object]) -> tuple[Counter[str], list[str]]:
    """Return how often each function of Aquila is called, and the files in the order in which calls enter them."""
    called: Counter[str] = Counter()
    files: list[str] = []

    def note(frame: FrameType, event: str, _: object) -> None:
        file = frame.f_code.co_filename
        if event == "call" and file.startswith(SOURCES):
            called[f"{file.removeprefix(SOURCES)}: {frame.f_code.co_name}"] += 1
            if files[-1:] != [file]:
                files.append(file)

    journey()  # What the first one loads and looks up is not counted.
    before = sys.getprofile()
    sys.setprofile(note)
    try:
        journey()
    finally:
        sys.setprofile(before)
    return called, files


@pytest.fixture
def huey():
    return MemoryHuey("calls")


@pytest.fixture
def add(huey):
    @huey.task()
    def add(one: int, other: int) -> int:
        return one + other

    return add


def test_a_task_in_a_worker_calls_few_functions(huey, add):
    def execute() -> None:
        add(1, 2)
        huey.execute(huey.dequeue())

    called, _ = count_calls(execute)
    assert called.total() <= 71, called.most_common()
    assert called["huey/serializing/serializer.py: deserialize"] == 1


def test_performing_a_job_goes_to_few_files(huey, add):
    with use_test_queue(huey):
        called, files = count_calls(lambda: perform_job(add, 1, 2))
    assert called["huey/testing/performing.py: perform_job"] == 1
    assert len(files) <= 45, files
    assert called.total() <= 78, called.most_common()


def test_draining_a_task_calls_few_functions(huey, add):
    def enqueue_and_drain() -> None:
        add(1, 2)
        drain_queue()

    with use_test_queue(huey):
        called, _ = count_calls(enqueue_and_drain)
    assert called["huey/testing/draining.py: drain_queue"] == 1
    assert called.total() <= 78, called.most_common()
