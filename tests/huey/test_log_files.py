"""The files of a task log: bounded, written by many processes, and read by the id of a task."""

import json
import multiprocessing
import os
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aquila.huey import MemoryHuey, TaskLog
from aquila.huey.telemetry import log_files
from aquila.huey.telemetry.log_files import LogFiles
from tests.support.examples import examples


def line_of(task_id, **fields):
    return json.dumps({"task_id": task_id, **fields}, ensure_ascii=False, separators=(",", ":")).encode(
        errors="replace"
    )


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test sets; a process looks for a new span at each line."""

    class Clock:
        now = 1_000_000.0

        def time(self):
            return self.now

        def monotonic(self):
            self.now += 0.0001
            return self.now

    clock = Clock()
    monkeypatch.setattr(log_files, "time", clock)
    monkeypatch.setattr(log_files, "_LOOK_EVERY", 0)
    return clock


def texts(files, task_id=None):
    return [json.loads(line)["n"] for line in files.read(task_id) if line]


ids = st.text(max_size=8)


@given(st.lists(ids, min_size=1, max_size=30))
@settings(max_examples=examples(50), deadline=None)
def test_the_lines_of_a_task_are_its_own_and_in_order(tmp_path_factory, written):
    files = LogFiles(tmp_path_factory.mktemp("log"), max_bytes=None, max_age=None)
    for number, task_id in enumerate(written):
        files.append(task_id, line_of(task_id, n=number, other={"task_id": written[0]}))
    for task_id in {*written, "nobody"}:
        # Those of a text that is no Unicode may share what is written in its place.
        same = [
            task_id,
            *(each for each in written if each.encode(errors="replace") == task_id.encode(errors="replace")),
        ]
        assert texts(files, task_id) == [number for number, each in enumerate(written) if each in same]
    assert sorted(texts(files)) == list(range(len(written)))
    files.close()


@pytest.mark.slow
def test_reading_one_task_of_a_hundred_thousand_reads_one_file_of_many(tmp_path, monkeypatch):
    files, whole, read = LogFiles(tmp_path, max_bytes=None, max_age=None), 0, []
    for number in range(100_000):
        line = b'{"task_id":"%d","n":%d,"more":"%s"}' % (number, number, b"x" * 100)
        files.append(str(number), line)
        whole += len(line)
    files.close()
    read_bytes = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read.append(read_bytes(path)) or read[-1])
    assert texts(files, "4711") == [4711]
    assert 0 < sum(map(len, read)) < whole / 50


def test_reading_one_task_parses_no_line_of_another(tmp_path, monkeypatch):
    huey = MemoryHuey("app")
    log = TaskLog(huey, folder=tmp_path)
    tasks = [huey.task(name=f"job{n}")(print).s() for n in range(300)]
    for task in tasks:
        log.add_entry(task, "huey", "executing", {})
        log.add_entry(task, "huey", "complete", {})
    parsed = []
    loads = json.JSONDecoder().decode
    monkeypatch.setattr(
        "aquila.huey.telemetry.task_log.json.loads", lambda line: parsed.append(line) or loads(line.decode())
    )
    assert [record.name for record in log.read(tasks[7].id)] == ["executing", "complete"]
    assert len(parsed) == 2
    log.close()


def test_the_oldest_records_are_deleted_when_the_files_are_too_large(tmp_path, clock):
    files = LogFiles(tmp_path, max_bytes=8_000, max_age=None)
    for number in range(1_000):
        files.append("task", line_of("task", n=number))
    kept = texts(files, "task")
    assert kept == list(range(kept[0], 1_000))  # without a gap
    assert 100 < len(kept) < 500
    size = sum(path.stat().st_size for path in tmp_path.glob("*/*"))
    assert 8_000 * 7 / 8 <= size <= 8_000 * 9 / 8
    files.close()


def test_records_are_deleted_when_they_are_too_old(tmp_path, clock):
    files = LogFiles(tmp_path, max_bytes=None, max_age=timedelta(hours=8))
    for hour in range(100):
        files.append("task", line_of("task", n=hour))
        clock.now += 3600
    assert texts(files, "task") == list(range(texts(files)[0], 100))
    assert 8 <= len(texts(files)) <= 10
    files.close()


def test_without_bounds_no_record_is_deleted(tmp_path, clock):
    files = LogFiles(tmp_path, max_bytes=None, max_age=None)
    for number in range(100):
        files.append("task", line_of("task", n=number))
        clock.now += 86_400
    assert texts(files) == list(range(100))
    files.close()


def test_a_clock_that_is_set_back_begins_no_period_before_the_newest(tmp_path, clock):
    files = LogFiles(tmp_path, max_bytes=80, max_age=None)
    for number in range(10):
        files.append("task", line_of("task", n=number))
        clock.now -= 1000
    assert texts(files) == list(range(texts(files)[0], 10))
    files.close()


def test_another_process_may_delete_the_files_in_the_midst(tmp_path, clock):
    files, other = (LogFiles(tmp_path, max_bytes=None, max_age=None) for _ in range(2))
    files.append("task", line_of("task", n=1))
    other.append("task", line_of("task", n=2))
    (span,) = tmp_path.iterdir()
    for path in span.iterdir():
        path.unlink()
    span.rmdir()
    files.append("another", line_of("another", n=3))
    files.append("task", line_of("task", n=4))
    assert sorted(texts(files)) == [3, 4]
    files.close()
    other.close()


def test_few_files_are_open_at_once(tmp_path):
    files = LogFiles(tmp_path, max_bytes=None, max_age=None)
    for number in range(500):
        files.append(f"task {number}", line_of(f"task {number}", n=number))
    assert len(files._open) <= 16
    assert len(texts(files)) == 500
    files.close()


def write_lines(folder, name):
    log_files._LOOK_EVERY = 0
    files = LogFiles(folder, max_bytes=200_000, max_age=None)
    for number in range(1_000):
        files.append("shared", line_of("shared", n=number, by=name, text="x" * (number % 200)))
    files.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_processes_that_write_at_once_and_delete_what_is_old_mix_no_lines(tmp_path):
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=write_lines, args=(tmp_path, name)) for name in "abc"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)
        assert writer.exitcode == 0
    files = LogFiles(tmp_path, max_bytes=None, max_age=None)
    found = [json.loads(line) for line in files.read("shared")]
    for name in "abc":
        numbers = [each["n"] for each in found if each["by"] == name]
        assert numbers == sorted(set(numbers))
    assert 2_000 > len(found) > 500
