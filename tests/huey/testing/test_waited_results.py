"""Waiting for a result in a test whose queue nobody works on."""

import asyncio
import itertools
import threading
import time
from types import SimpleNamespace

import pytest
from huey import MemoryHuey
from huey.api import Result
from huey.contrib.asyncio import aget_result_group
from huey.exceptions import ResultTimeout

from aquila.errors import TaskError
from aquila.huey.testing import drain_queue, perform_job, run_consumer, use_test_queue, waited_results


@pytest.fixture
def alone(monkeypatch):
    """No other thread than one of Aquila, whatever other tests have left."""
    ours = threading.Thread(name="aquila-scripts")
    monkeypatch.setattr(threading, "enumerate", lambda: [threading.current_thread(), ours])


@pytest.fixture
def half(huey):
    @huey.task()
    def half(number):
        return number / 2

    return half


@pytest.fixture
def quarter(huey, half):
    @huey.task()
    def quarter(number):
        return half(half(number).get(blocking=True)).get(blocking=True)

    return quarter


def test_a_task_that_waits_for_another_one_is_told_that_nobody_executes_it(huey, quarter, alone):
    with pytest.raises(
        TaskError, match=r"a result of .*\.half\(8\), which nobody executes.*Call drain_queue\(\) before"
    ):
        perform_job(quarter, 8)
    with use_test_queue(huey, "inline"):
        assert perform_job(quarter, 8).value == 2


def test_workers_execute_the_task_that_another_one_waits_for(quarter):
    with run_consumer(workers=2) as consumer:
        assert consumer.wait(quarter(8)) == 2


def test_other_threads_may_execute_a_task_unless_nothing_happens(huey, half, monkeypatch):
    scheduled, result = half.schedule((8,), delay=60), []
    waiting = threading.Thread(target=lambda: result.append(scheduled.get(blocking=True)))
    waiting.start()
    assert drain_queue(with_scheduled=True) == {"complete": 1}
    waiting.join()
    assert result == [4]

    monkeypatch.setattr(threading, "enumerate", lambda: [threading.current_thread(), waiting])
    monkeypatch.setattr(waited_results, "_PATIENCE", 0.0)
    with pytest.raises(TaskError, match=r"a result of .*\.half\(2\), which nobody executes"):
        half(2).get(blocking=True)
    with pytest.raises(TaskError, match="is not enqueued, so no result will come"):
        huey._result_handle(half.s(2)).get(blocking=True)


@pytest.mark.parametrize(
    "wait",
    [
        lambda results: asyncio.run(aget_result_group(results, backoff=1, max_delay=0)),
        lambda results: list(results.as_completed(backoff=0)),
    ],
    ids=["aget_result", "as_completed"],
)
def test_who_looks_for_a_result_again_and_again_is_told_that_nobody_executes_its_task(half, monkeypatch, wait):
    monkeypatch.setattr(waited_results, "_PATIENCE", 0.0)
    results = half.map([2, 4])
    with pytest.raises(TaskError, match=r"a result of .*\.half\(\d\), which nobody executes"):
        wait(results)
    assert drain_queue() == {"complete": 2}
    assert sorted(wait(results)) == [1, 2]


def test_reads_are_watched_until_the_last_queue_closes_in_whichever_order_threads_close_them():
    before = Result._get
    first, second = (use_test_queue(MemoryHuey(name)) for name in "ab")
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    watched = Result._get
    second.__exit__(None, None, None)
    assert watched is not before
    assert Result._get is before


def test_whoever_looks_for_a_result_all_the_time_has_the_queue_copied_once_in_a_while(huey, half, monkeypatch):
    result, copies, copy = half(8), [], huey.storage.enqueued_items
    monkeypatch.setattr(huey.storage, "enqueued_items", lambda *args: copies.append(1) or copy(*args))
    monkeypatch.setattr(waited_results, "machine_seconds", lambda: 1.0)  # All within a moment.
    assert not any(result.is_ready() for _ in range(100))
    assert len(copies) == 1


def test_a_test_that_puts_its_clock_forward_may_look_for_a_result_as_often_as_it_likes(half, monkeypatch):
    result = half(8)
    monkeypatch.setattr(time, "monotonic", itertools.count(0, 3600).__next__)  # as freezegun does
    assert not any(result.is_ready() for _ in range(10))


def test_a_task_that_has_just_become_due_is_left_to_its_worker(huey, half, monkeypatch):
    steps = iter([list, drain_queue])  # The worker comes a step later.
    monkeypatch.setattr(waited_results, "machine_seconds", itertools.count(0, 100).__next__)
    monkeypatch.setattr(waited_results, "time", SimpleNamespace(sleep=lambda _: next(steps)()))
    monkeypatch.setattr(waited_results, "_has_other_threads", lambda: True)
    assert half.schedule((8,), eta=huey._get_timestamp()).get(blocking=True) == 4


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda huey, half: half.schedule((8,), delay=60), r"\.half\(8\), .*drain_queue\(with_scheduled=True\) before"),
        (lambda huey, half: huey.enqueue(half.s(8).then(half)), r"a result of .*\.half\(8\), which nobody executes"),
        (lambda huey, half: huey._result_handle(half.s(8)), r"the task .*, is not enqueued, so no result will come"),
    ],
    ids=["scheduled", "following", "not enqueued"],
)
def test_a_wait_says_why_it_would_not_end(huey, half, alone, make, message):
    with pytest.raises(TaskError, match=message):
        make(huey, half).get(blocking=True)


def test_a_wait_with_a_time_limit_ends_as_in_production(half, alone):
    with pytest.raises(ResultTimeout):
        half(8).get(blocking=True, timeout=0.01)
