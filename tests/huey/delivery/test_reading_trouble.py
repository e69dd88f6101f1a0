"""A consumer goes on when its storage comes back, and says once that it was away, and once that it is there again."""

import logging
import threading
from unittest.mock import Mock

import pytest

from aquila.huey import MemoryHuey
from aquila.huey.delivery.reading_trouble import QUEUE, SCHEDULE, ReadingTrouble
from tests.huey.live.conftest import consumer


class Away(Exception):
    """What this storage raises while it is away."""


@pytest.fixture
def unsteady(monkeypatch):
    """A Huey whose storage fails for the first calls of a method: ``unsteady(method, calls)``."""

    def make(method, calls, **options):
        huey, failures = MemoryHuey("jobs", **options), iter(range(calls))
        ask = getattr(huey.storage, method)

        def fail_first(*arguments):
            if next(failures, None) is not None:
                raise Away
            return ask(*arguments)

        monkeypatch.setattr(huey.storage, method, fail_first)
        return huey

    return make


def make_workers(huey, number=2):
    consumer = huey.create_consumer(workers=number, initial_delay=0.001, max_delay=0.001, periodic=False)
    return [worker for worker, _ in consumer.worker_threads], consumer._create_scheduler()


def logged(caplog):
    names = ("huey.aquila", "huey.consumer.Worker", "huey.consumer.Scheduler")
    return [(one.levelname, one.getMessage()) for one in caplog.records if one.name in names]


def test_workers_log_once_that_the_queue_cannot_be_read(unsteady, caplog):
    caplog.set_level(logging.INFO, "huey")
    huey = unsteady("dequeue", 7)
    executed = []

    @huey.task()
    def job():
        executed.append(1)

    workers, _ = make_workers(huey)
    job()
    for _ in range(5):
        for worker in workers:
            worker.loop()
    assert executed == [1]
    assert logged(caplog) == [("ERROR", QUEUE), ("WARNING", "the queue of 'jobs' can be read again")]
    assert all("loop" not in vars(worker) for worker in workers)


def test_each_outage_of_the_storage_is_logged(unsteady, caplog, monkeypatch):
    huey = unsteady("dequeue", 2)
    (worker,), _ = make_workers(huey, 1)
    for _ in range(3):
        worker.loop()
    huey = unsteady("dequeue", 2)
    monkeypatch.setattr(worker, "huey", huey)
    for _ in range(3):
        worker.loop()
    assert [level for level, _ in logged(caplog)] == ["ERROR", "WARNING"] * 2


def test_the_scheduler_logs_once_that_the_schedule_cannot_be_read(unsteady, caplog, monkeypatch):
    huey = unsteady("read_schedule", 3)
    _, scheduler = make_workers(huey)
    monkeypatch.setattr(scheduler, "sleep_for_interval", lambda *arguments: None)
    soon, late = float("inf"), 0.0  # One that is late does not look.
    for next_loop in (soon, late, soon, late, soon, late):
        scheduler._next_loop = next_loop
        scheduler.loop()
        assert logged(caplog) == [("ERROR", SCHEDULE)]
    for next_loop in (soon, soon):
        scheduler._next_loop = next_loop
        scheduler.loop()
    assert logged(caplog) == [("ERROR", SCHEDULE), ("WARNING", "the schedule of 'jobs' can be read again")]


def test_an_error_of_another_class_is_logged_at_once_and_one_that_goes_on_each_minute(monkeypatch, caplog):
    huey = MemoryHuey("jobs")
    (worker,), _ = make_workers(huey, 1)
    away, refused, now = Away(), PermissionError("no permission to run 'brpop'"), [1000.0]
    monkeypatch.setattr("aquila.huey.delivery.reading_trouble.time.monotonic", lambda: now[0])
    said = []
    for error, passed in [(away, 1), (away, 1), (refused, 1), (away, 1), (refused, 1), (away, 60), (away, 1)]:
        now[0] += passed
        monkeypatch.setattr(huey.storage, "dequeue", Mock(side_effect=error))
        caplog.clear()
        worker.loop()
        said.append([one.exc_info[0] for one in caplog.records if one.levelno == logging.ERROR])
    assert said == [[Away], [], [PermissionError], [], [], [Away], []]


def test_an_answer_to_what_was_asked_before_ends_no_trouble():
    trouble = ReadingTrouble()
    assert trouble.begin(OSError())
    assert not trouble.end(began=0.0)
    assert not trouble.begin(OSError())
    assert trouble.end(began=float("inf"))
    assert not trouble.end(began=float("inf"))


@pytest.mark.parametrize("keep_running", [False, True])
def test_a_consumer_goes_on_when_its_storage_comes_back(unsteady, caplog, keep_running):
    huey = unsteady("dequeue", 20, keep_running=keep_running)
    executed = threading.Event()

    @huey.task()
    def job():
        executed.set()

    job()
    with consumer(huey, workers=2):
        assert executed.wait(60)
    assert [level for level, _ in logged(caplog)].count("ERROR") == 1
