"""Old results, checkpoints and partial answers are removed, without reading any."""

import datetime as dt

import pytest
import time_machine

from aquila.errors import ConfigError
from aquila.huey import (
    add_pruner,
    checkpoint,
    list_consumers,
    partial_answer,
    prune_results,
    requeue_lost_tasks,
)
from aquila.huey.delivery.pruning import Pruned
from aquila.huey.delivery.result_keys import list_result_keys
from aquila.huey.testing import drain_queue, run_periodic
from tests.huey.live.conftest import consumer
from tests.huey.programs import wait_until
from tests.huey.sample_tasks import returning
from tests.huey.storages import STORAGES, ExpiringHuey
from tests.support.slow import slow_but

DAY = dt.timedelta(days=1)


@pytest.fixture
def store(huey):
    """Store results, and what tasks leave behind, in the names of ``count`` tasks."""

    @huey.task()
    def job(fails):
        checkpoint("a", 1)
        if fails:
            raise ValueError
        return 1

    def store(count, fails=False):
        ids = [job(fails).id for _ in range(count)]
        drain_queue(raise_errors=False)
        return ids

    return store


def after(days):
    return time_machine.travel(dt.datetime.now(dt.UTC) + days * DAY)


def test_results_older_than_a_time_are_removed(huey, store):
    old = store(2)
    assert prune_results(huey, older_than=7 * DAY) == Pruned(0, 0)
    with after(6):
        new = store(1)
        assert prune_results(huey, older_than=7 * DAY) == Pruned(0, 0)
    with after(8):
        assert prune_results(huey, older_than=7 * DAY) == Pruned(2, 0)
    left = huey.all_results()
    assert new[0] in left
    assert not set(old) & set(left)


def test_the_oldest_results_beyond_a_number_are_removed(huey, store):
    for day in range(4):
        with after(day):
            ids = store(1)
            prune_results(huey, keep=10)
    with after(4):
        assert prune_results(huey, keep=1) == Pruned(3, 0)
    assert ids[0] in huey.all_results()


def test_checkpoints_and_partial_answers_of_failed_tasks_go_too(huey, store):
    (failed,) = store(1, fails=True)
    huey.put(f"aquila.partial.{failed}", [1, "text"])
    prune_results(huey, older_than=DAY)
    with after(2):
        assert prune_results(huey, older_than=DAY) == Pruned(1, 2)
    assert partial_answer(huey, failed) is None
    assert not huey.all_results()


def test_what_is_no_result_is_left_alone(huey, store):
    task = returning(huey, 1, name="task")
    task.revoke()
    huey.revoke_by_id("some")
    huey.lock_task("held").acquire()
    huey.put("chord:x:0", 1)
    before = set(huey.all_results())
    prune_results(huey, older_than=DAY)
    with after(9):
        assert prune_results(huey, older_than=DAY) == Pruned(0, 0)
    assert set(huey.all_results()) == before


def test_a_result_that_was_fetched_is_forgotten(huey, store):
    (fetched,) = store(1)
    prune_results(huey, older_than=DAY)
    assert huey.result(fetched) == 1
    with after(2):
        assert prune_results(huey, older_than=DAY) == Pruned(0, 0)
        again = store(1)
        prune_results(huey, older_than=DAY)
    assert again[0] in huey.all_results()


def test_a_pruner_is_added_in_a_line(huey, store):
    add_pruner(huey, older_than=DAY)
    store(1)
    moment = dt.datetime(2026, 1, 1, 3, 5)
    assert len(run_periodic(moment)) == 1
    with after(2):
        run_periodic(moment)
    assert not huey.all_results()
    assert run_periodic(dt.datetime(2026, 1, 1, 3, 6)) == []


def test_pruning_needs_a_measure(huey):
    for call in (lambda: prune_results(huey), lambda: add_pruner(huey, older_than=None)):
        with pytest.raises(ConfigError, match="older_than="):
            call()


@pytest.mark.parametrize(
    "limits", [{"older_than": 7}, {"keep": "100"}, {"keep": -1}, {"older_than": dt.timedelta(days=-1)}], ids=str
)
def test_a_measure_that_is_of_another_type_or_negative_is_refused_where_the_pruner_is_added(huey, limits):
    for call in (prune_results, add_pruner):
        with pytest.raises(ConfigError, match="older_than= is a timedelta from 0 and keep= a whole number from 0"):
            call(huey, **limits)


@pytest.mark.parametrize("kind", slow_but(["sqlite", "redis"], STORAGES))
def test_every_storage_is_pruned_and_no_value_is_read(kind, make_aquila_huey, monkeypatch):
    huey = make_aquila_huey(kind)
    for number in range(7):
        huey.put_result(f"task {number}", number)
    huey.put("r:other", (None, True))
    assert prune_results(huey, keep=100) == Pruned(0, 0)
    huey.put_result("new", 1)
    for method in ("result_items", "peek_data", "peek_many"):
        monkeypatch.setattr(huey.storage, method, None)
    assert prune_results(huey, keep=3) == Pruned(5, 0)
    assert list_result_keys(huey) == ["new", "r:other", "task 5", "task 6"]
    assert list_result_keys(huey, "task") == ["task 5", "task 6"]
    monkeypatch.undo()
    huey.flush()
    assert list_result_keys(huey) == []


def test_a_result_that_is_fetched_while_results_are_pruned_hinders_nothing(make_aquila_huey, monkeypatch):
    huey = make_aquila_huey("file")
    for number in range(3):
        huey.put(f"{number}", number)
    listed = huey.storage._result_files

    def list_and_fetch():
        paths = list(listed())
        huey.get("1")
        return paths

    monkeypatch.setattr(huey.storage, "_result_files", list_and_fetch)
    assert prune_results(huey, keep=0).results == 2


def test_results_that_redis_lets_expire_are_pruned(make_huey):
    huey = make_huey("redis", {"redis": ExpiringHuey})
    huey.put_result("a", 1)
    prune_results(huey, keep=1)
    huey.put_result("b", 1)
    assert prune_results(huey, keep=1) == Pruned(1, 0)
    assert list_result_keys(huey) == ["b"]


def test_keys_that_begin_with_something_are_found_without_reading_the_others(make_aquila_huey):
    huey = make_aquila_huey("redis")
    redis = huey.storage.conn
    redis.hset(huey.storage.result_key, mapping={f"task {number}": "x" * 100 for number in range(2000)})
    redis.hset(huey.storage.result_key, mapping={"a[*]-1": "x", "a[*]-2": "x", "a*1": "x"})
    before = redis.info("stats")["total_net_output_bytes"]
    assert list_result_keys(huey, "a[*]-") == ["a[*]-1", "a[*]-2"]
    assert redis.info("stats")["total_net_output_bytes"] - before < 20_000  # Of which the answer to `info` has 5,000.


def test_a_consumer_begins_without_reading_what_lies_in_the_result_store(make_aquila_huey, redis_url):
    huey = make_aquila_huey("redis", keep_running=True)
    for number in range(200):
        huey.put_result(f"task {number}", "x" * 10_000)
    redis = huey.storage.conn

    def bytes_read():
        return redis.info("stats")["total_net_output_bytes"]

    before = bytes_read()
    with consumer(huey):
        wait_until(lambda: list_consumers(huey))
        requeue_lost_tasks(huey)
        prune_results(huey, older_than=7 * DAY)
        prune_results(huey, older_than=7 * DAY)
    assert bytes_read() - before < 200_000  # of 2,000,000


def test_a_second_prune_writes_down_nothing_that_the_first_one_has(make_aquila_huey):
    huey = make_aquila_huey("redis")
    redis = huey.storage.conn
    redis.hset(huey.storage.result_key, mapping={f"task {number}": "x" for number in range(3000)})

    def written_by_a_prune():
        before = redis.info("stats")["total_net_input_bytes"]
        assert prune_results(huey, older_than=7 * DAY) == Pruned(0, 0)
        return redis.info("stats")["total_net_input_bytes"] - before

    assert written_by_a_prune() > 30_000  # It has seen each of them for the first time.
    assert written_by_a_prune() < 2_000
