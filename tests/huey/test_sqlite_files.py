"""SQLite files that are locked, or that cannot be a queue."""

import contextlib
import logging
import sqlite3

import pytest

from aquila.huey import SqliteHuey


@contextlib.contextmanager
def locked(filename):
    """Hold the file of a queue, as a program with an open transaction does; yields the connection."""
    with contextlib.closing(sqlite3.connect(filename, isolation_level=None)) as holder:
        holder.execute("begin exclusive")
        yield holder


@pytest.fixture
def filename(tmp_path):
    return str(tmp_path / "jobs.db")


def test_a_file_that_cannot_be_a_queue_is_named(tmp_path):
    file = tmp_path / "notes.txt"
    file.write_text("notes " * 200)
    with pytest.raises(sqlite3.DatabaseError) as refusal:
        SqliteHuey("jobs", filename=str(file))
    assert refusal.value.__notes__ == [f"the file of the queue 'jobs' is {str(file)!r}"]


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
