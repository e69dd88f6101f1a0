"""A consumer goes on when its storage comes back, and does not log each attempt to read it meanwhile."""

import logging
import threading
from unittest.mock import Mock

import pytest

from aquila.huey import MemoryHuey
from aquila.huey.delivery import consumer as consumers
from tests.huey.live.conftest import consumer
from tests.huey.storages import Away


def errors_in(caplog):
    return [(one.getMessage(), one.exc_info[0]) for one in caplog.records if one.levelno == logging.ERROR]


def test_workers_log_an_outage_once_a_minute_and_another_error_at_once(monkeypatch, caplog):
    huey, now = MemoryHuey("jobs"), [1000.0]
    running = huey.create_consumer(workers=2, initial_delay=0.001, max_delay=0.001, periodic=False)
    first, second = (worker for worker, _ in running.worker_threads)
    monkeypatch.setattr(consumers, "time", Mock(monotonic=lambda: now[0]))
    away, refused, said = Away(), PermissionError("no permission to run 'brpop'"), []
    for error, passed in [(away, 1), (away, 1), (refused, 1), (away, 1), (refused, 1), (away, 60), (away, 1)]:
        now[0] += passed
        monkeypatch.setattr(huey.storage, "dequeue", Mock(side_effect=error))
        caplog.clear()
        first.loop()
        second.loop()
        said.append(errors_in(caplog))
    text = "Error reading from queue"
    assert said == [[(text, Away)], [], [(text, PermissionError)], [], [], [(text, Away)], []]


def test_the_scheduler_logs_an_outage_once_a_minute(monkeypatch, caplog):
    huey = MemoryHuey("jobs")
    scheduler = huey.create_consumer(workers=1, periodic=False)._create_scheduler()
    monkeypatch.setattr(huey.storage, "read_schedule", Mock(side_effect=Away))
    monkeypatch.setattr(scheduler, "sleep_for_interval", lambda *arguments: None)
    for _ in range(3):
        scheduler._next_loop = float("inf")
        scheduler.loop()
    assert errors_in(caplog) == [("Error reading schedule.", Away)]


@pytest.mark.parametrize("keep_running", [False, True])
def test_a_consumer_goes_on_when_its_storage_comes_back(monkeypatch, caplog, keep_running):
    huey, failures = MemoryHuey("jobs", keep_running=keep_running), iter(range(20))
    dequeue, executed = huey.storage.dequeue, threading.Event()

    def fail_first():
        if next(failures, None) is not None:
            raise Away
        return dequeue()

    monkeypatch.setattr(huey.storage, "dequeue", fail_first)

    @huey.task()
    def job():
        executed.set()

    job()
    with consumer(huey, workers=2):
        assert executed.wait(60)
    assert len(errors_in(caplog)) == 1
