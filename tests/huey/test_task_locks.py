"""``lock_task`` and ``rate_limit`` of Huey: on ``async`` tasks, and where the worker of a job ends meanwhile."""

import asyncio

import pytest
from huey.exceptions import TaskException

from aquila.huey import MemoryHuey, current_task
from aquila.huey.testing import perform_job, use_test_queue


@pytest.fixture
def huey():
    huey = MemoryHuey("locks")
    with use_test_queue(huey):
        yield huey


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


def test_a_job_that_is_delivered_again_takes_the_lock_again_that_its_worker_could_not_release(huey):
    lock = huey.lock_task("one at a time")

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
