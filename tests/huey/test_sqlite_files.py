"""SQLite files that are locked, cannot be written, or are none: a consumer waits, or says what to do."""

import contextlib
import logging
import sqlite3
import subprocess
import sys

import pytest

from aquila.errors import ConfigError
from aquila.huey import SqliteHuey, sqlite_files
from tests.huey.programs import START, declare_for_program, environment_of

APP = """
from aquila.huey import SqliteHuey

huey = SqliteHuey("jobs", filename={filename!r}, timeout=0.05, keep_running=True)

@huey.task(name="work")
def work(number):
    return number
"""


@contextlib.contextmanager
def locked(filename):
    """Hold the file of a queue, as a program with an open transaction does; yields the connection."""
    with contextlib.closing(sqlite3.connect(filename, isolation_level=None)) as holder:
        holder.execute("begin exclusive")
        yield holder


@pytest.fixture
def filename(tmp_path):
    return str(tmp_path / "jobs.db")


@pytest.mark.slow
def test_a_consumer_that_starts_while_the_file_is_locked_waits_for_it_and_says_so_once(filename, tmp_path):
    (tmp_path / "locked_app.py").write_text(APP.format(filename=filename))
    huey = SqliteHuey("jobs", filename=filename)

    @huey.task(name="work")
    def work(number):
        raise AssertionError("a worker's task")

    declare_for_program(huey, "locked_app", work)
    result = work(7)
    huey.storage.close()
    command, environment = [sys.executable, "-c", START, "locked_app.huey", "-n"], environment_of(tmp_path)
    with locked(filename) as holder:
        consumer = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        try:
            said = [consumer.stderr.readline()]
            assert f"the file {filename!r} of the queue 'jobs' is locked by another process" in said[0]
            holder.execute("rollback")
            assert result.get(blocking=True, timeout=60) == 7
        finally:
            consumer.kill()
            said += consumer.communicate()[1].splitlines()
    assert "can be used again" in said[1]
    assert not [line for line in said[1:] if "Traceback" in line or "is locked" in line]
    huey.storage.close()


def test_a_file_that_stays_locked_is_said_to_be_after_a_while(filename, monkeypatch, caplog):
    monkeypatch.setattr(sqlite_files, "PATIENCE", 0.1)
    with (
        locked(filename),
        pytest.raises(ConfigError, match=r"has been locked by another .* `fuser` .* local disk"),
    ):
        SqliteHuey("jobs", filename=filename, timeout=0)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("no folder/jobs.db", "make its folder"),
        ("no folder\\inner/jobs.db", "make its folder"),
        ("notes.txt", "give filename= the path of a SQLite"),
    ],
)
def test_a_file_that_cannot_be_a_queue_is_refused_at_once(tmp_path, name, advice):
    (tmp_path / "notes.txt").write_text("notes " * 200)
    with pytest.raises(ConfigError, match=advice) as refusal:
        SqliteHuey("jobs", filename=str(tmp_path / name))
    assert str(tmp_path / name) in str(refusal.value)


@pytest.mark.parametrize(
    ("kind", "text", "advice"),
    [
        (
            sqlite3.SQLITE_IOERR_LOCK,
            "disk I/O error",
            "whether the disk is sound, or give filename= a path on a local disk",
        ),
        (sqlite3.SQLITE_PROTOCOL, "locking protocol", "give filename= a path on a local disk"),
        (sqlite3.SQLITE_FULL, "database or disk is full", "free the disk"),
    ],
)
def test_a_file_whose_file_system_fails_or_lacks_locks_is_named(filename, kind, text, advice):
    def fail():
        error = sqlite3.OperationalError(text)
        error.sqlite_errorcode = kind
        raise error

    with pytest.raises(ConfigError, match=advice) as refusal:
        sqlite_files.open_patiently(fail, "jobs", filename)
    assert f"the file {filename!r} of the queue 'jobs' cannot be used ({text}): " in str(refusal.value)


def test_a_consumer_of_a_file_that_it_cannot_write_says_so_and_loses_nothing(filename):
    huey = SqliteHuey("jobs", filename=filename, journal_mode="delete")
    huey.task()(len)([1])
    reader = SqliteHuey("jobs", filename=f"file:{filename}?mode=ro", uri=True, journal_mode=None, keep_running=True)
    consumer = reader.create_consumer()
    consumer._set_signal_handlers = lambda: None
    with pytest.raises(ConfigError, match=r"readonly database.*let the user of this process write"):
        consumer.start()
    assert huey.pending_count() == reader.pending_count() == 1  # What shows a queue may read it.
    for each in (huey, reader):
        each.storage.close()


def test_a_worker_that_begins_while_the_file_is_locked_is_no_failure_of_its_own(filename, caplog):
    huey = SqliteHuey("jobs", filename=filename, timeout=0, keep_running=True)
    ((worker, _),) = huey.create_consumer(workers=1, initial_delay=0.001, max_delay=0.001).worker_threads
    with locked(filename):
        worker.initialize()
        assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
        worker.loop()
    worker.loop()
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == [
        "Error reading from queue"
    ]
    huey.tasks_in_hand.kept.end_life()
    huey.storage.close()
