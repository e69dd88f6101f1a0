"""``lock_task`` and ``rate_limit`` of Huey: on ``async`` tasks, and where the worker of a job ends meanwhile."""

import asyncio
import contextvars

import pytest
from huey.exceptions import TaskException, TaskLockedException
from huey.serializer import Serializer

from aquila.huey import current_task
from aquila.huey.testing import perform_job


def fail_once(storage, name, monkeypatch):
    works = getattr(storage, name)

    def fail(*given):
        monkeypatch.setattr(storage, name, works)
        raise ConnectionError

    monkeypatch.setattr(storage, name, fail)


def execute_next(huey):
    huey.execute(huey.dequeue())


def test_an_async_task_runs_to_its_end_while_it_has_its_lock(huey):
    lock = huey.lock_task("one at a time")

    @huey.task()
    @lock
    async def job(number):
        await asyncio.sleep(0)
        return number if lock.is_locked() else "the lock is free"

    assert perform_job(job, 7).value == 7
    assert not lock.is_locked()
    with lock:
        assert perform_job(job, 7).state == "locked"


def test_an_async_task_is_held_to_its_rate_limit(huey):
    @huey.task()
    @huey.rate_limit("often enough", 1, per=3600)
    async def job(number):
        return number

    assert perform_job(job, 7).value == 7
    assert perform_job(job, 8).state == "rate-limited"


@pytest.mark.parametrize("ttl", [None, 60])
def test_a_job_that_is_delivered_again_takes_the_lock_again_that_its_worker_could_not_release(huey, ttl):
    lock = huey.lock_task("one at a time", ttl)

    @huey.task()
    def job():
        lock.acquire()
        if current_task().delivery == 1:
            raise KeyboardInterrupt  # The worker is told to end. One that is killed releases no lock.
        lock.release()
        return "done"

    first, second = job(), job()
    execute_next(huey)
    assert lock.is_locked()
    execute_next(huey)
    with pytest.raises(TaskException, match="unable to acquire lock"):
        second.get()  # It was not delivered again, and the lock is that of the other job.
    execute_next(huey)
    assert first.get() == "done"
    assert not lock.is_locked()


def test_a_retry_takes_the_lock_again_that_a_killed_worker_left(huey):
    lock = huey.lock_task("one at a time")

    @huey.task(retries=1)
    def job():
        current = current_task()
        if (current.attempt, current.delivery) == (1, 2):
            raise ValueError("the provider is away, before the lock is needed again")
        lock.acquire()
        if current.attempt == 1:
            raise KeyboardInterrupt
        lock.release()
        return "done"

    result = job()
    for _ in range(3):
        execute_next(huey)
    assert result.get() == "done"
    assert not lock.is_locked()


def test_a_job_that_is_delivered_again_holds_its_lock_once(huey):
    lock = huey.lock_task("one at a time")
    refused = []

    @huey.task()
    def job():
        lock.acquire()
        if current_task().delivery == 1:
            raise KeyboardInterrupt
        with pytest.raises(TaskLockedException):  # As in a first delivery. So another thread of the job is refused.
            lock.acquire()
        refused.append(lock.is_locked())

    job()
    execute_next(huey)
    execute_next(huey)
    assert refused == [True]


def test_an_execution_that_was_handed_back_leaves_the_lock_to_the_next_one(huey):
    lock = huey.lock_task("one at a time")
    held = []

    @huey.task()
    def job():
        with lock:
            if current_task().delivery == 1:  # The process ends, while this thread of it goes on for a moment.
                huey.notify_interrupted_tasks()
        held.append(lock.is_locked())

    job()
    execute_next(huey)
    execute_next(huey)
    assert held == [True, False]


def test_a_lock_that_somebody_else_has_taken_meanwhile_is_not_released(huey):
    lock = huey.lock_task("one at a time")

    @huey.task()
    def job():
        with lock:
            lock.clear()  # As its `ttl`, or an operator, does.
            contextvars.Context().run(lock.acquire)
        return lock.is_locked()

    assert perform_job(job).value


def test_a_lock_of_a_program_with_another_serializer_is_that_of_somebody_else(huey):
    lock = huey.lock_task("one at a time")

    @huey.task()
    def job():
        with lock:
            huey.storage.put_data(lock._key, Serializer().serialize("1"))
        return lock.is_locked()

    assert perform_job(job).value


def test_a_storage_that_is_away_for_a_moment_fails_no_task_that_releases_its_lock(huey, monkeypatch):
    lock = huey.lock_task("one at a time")

    @huey.task()
    def job():
        with lock:
            fail_once(huey.storage, "peek_data", monkeypatch)
        return "done"

    assert perform_job(job).value == "done"
    assert not lock.is_locked()
