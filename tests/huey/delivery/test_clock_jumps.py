"""Somebody sets the clock of the storage, forward or back by an hour: nothing is done twice, nothing waits an hour."""

import time

import pytest

from aquila.engine.calls.request_gate import OutgoingRequest
from aquila.huey import MemoryHuey, SqliteHuey
from aquila.huey.delivery import rescuer as rescuer_module
from aquila.huey.delivery.consumer_life import CONSUMERS
from aquila.huey.delivery.rescuer import Rescuer
from aquila.huey.limits import pauses
from aquila.huey.limits.counting import Asking, Counts, let_in
from aquila.huey.limits.rules import parse_limits
from aquila.huey.live import publish_jobs
from aquila.huey.live.workers import read_workers
from aquila.huey.state import memory_tables, sql_tables, state_of
from tests.huey.delivery.test_rescuing import lose

HOUR = 3600.0


class Clocks:
    """The clock of the storage, which can be set, and that of the process, which only goes on."""

    def __init__(self):
        self.set_by = self.passed = 0.0

    def time(self):
        return time.time() + self.set_by + self.passed

    def monotonic(self):
        return time.monotonic() + self.passed

    def __getattr__(self, name):
        return getattr(time, name)


@pytest.fixture
def clocks(monkeypatch):
    clocks = Clocks()
    for module in (memory_tables, sql_tables, rescuer_module):
        monkeypatch.setattr(module, "time", clocks)
    return clocks


@pytest.fixture
def huey(tmp_path):
    made = SqliteHuey("app", filename=str(tmp_path / "app.db"), keep_running=True)
    made.task(name="job")(lambda: 1)
    yield made
    made.storage.close()


def enqueue(huey):
    return next(iter(huey._registry._registry.values()))()


def beat(huey, owner="alive"):
    state = state_of(huey)
    state.put(CONSUMERS, owner, state.get(CONSUMERS, owner), order=state.now())


def test_no_task_is_taken_over_because_the_clock_was_put_forward(huey, clocks, caplog):
    lose(huey, enqueue(huey), owner="alive", seen=1)
    rescuer = Rescuer(huey)
    rescuer.look()
    clocks.set_by = HOUR
    rescuer.look()  # before the other has shown itself again
    assert "was put forward by 3600 s" in caplog.text
    clocks.passed += 5
    beat(huey)
    rescuer.look()
    assert huey.pending_count() == 0
    clocks.passed += huey.lost_after + 1  # It has died since.
    rescuer.look()
    assert huey.pending_count() == 1


@pytest.mark.parametrize("lives", [True, False])
def test_a_consumer_that_starts_after_the_clock_was_put_forward_takes_over_only_what_is_lost(huey, clocks, lives):
    lose(huey, enqueue(huey), owner="alive", seen=1)
    clocks.set_by = HOUR
    rescuer = Rescuer(huey)
    rescuer.look()
    assert huey.pending_count() == 0
    clocks.passed += huey.lost_after / 6
    if lives:
        beat(huey)
    rescuer.look()
    clocks.passed += huey.lost_after / 6 + 0.1
    rescuer.look()
    assert huey.pending_count() == (not lives)
    assert state_of(huey).count(CONSUMERS) == lives


def test_a_consumer_that_shows_itself_while_its_tasks_are_taken_over_stays(huey, clocks, monkeypatch):
    lose(huey, enqueue(huey), owner="alive", seen=-HOUR)
    rescuer = Rescuer(huey)
    rescuer.look()
    clocks.passed += huey.lost_after + 1
    requeue = rescuer_module._requeue_tasks_of

    def requeue_and_beat(*arguments):
        done = requeue(*arguments)
        beat(huey)  # of the same text
        return done

    monkeypatch.setattr(rescuer_module, "_requeue_tasks_of", requeue_and_beat)
    rescuer.look()
    assert huey.pending_count() == 1
    (entry,) = state_of(huey).entries(CONSUMERS)
    assert entry.order == pytest.approx(clocks.time(), abs=60)


@pytest.mark.parametrize("lives", [True, False])
def test_the_dead_are_found_though_the_clock_was_put_back(huey, clocks, lives):
    lose(huey, enqueue(huey), owner="alive", seen=1)
    rescuer = Rescuer(huey)
    rescuer.look()
    clocks.set_by = -HOUR
    for _ in range(8):
        if lives:
            beat(huey)
        rescuer.look()
        clocks.passed += 5
    assert huey.pending_count() == (not lives)
    assert state_of(huey).count(CONSUMERS) == lives


def test_a_limit_holds_on_and_keeps_nobody_out_for_an_hour_where_the_clock_is_put_back():
    (rule,) = parse_limits("*: 10/min")
    counts, now = Counts(), 1_800_000_000.0

    def ask(at):
        asking = Asking(1, f"{at}", at + 60, has_turn=True)
        return let_in(counts, [rule], asking, at)

    assert [ask(now + second) for second in range(10)] == [None] * 10
    now += 10 - HOUR
    counts = Counts.read(counts.write())
    assert ask(now).at - now < 62
    assert ask(now + 62) is None


def test_a_limit_of_a_model_keeps_nobody_out_though_another_model_was_asked_first_after_the_clock_was_put_back():
    of_all, of_one = parse_limits("openai: 60/min; openai/gpt-5*: 1/min")
    counts, now = Counts(), 1_800_000_000.0

    def ask(at, *rules):
        return let_in(counts, rules, Asking(1, f"{at}", at + 60, has_turn=True), at)

    assert ask(now, of_all, of_one) is None
    assert ask(now - HOUR, of_all) is None
    assert ask(now - HOUR + 1, of_all, of_one).at < now - HOUR + 62  # It holds on.
    assert ask(now - HOUR + 62, of_all, of_one) is None


def test_what_waits_for_a_slot_that_was_lost_does_not_wait_an_hour_longer():
    (rule,) = parse_limits("*: 1 at once")
    counts, now = Counts(), 1_800_000_000.0
    assert let_in(counts, [rule], Asking(1, "killed", now + 60), now) is None
    now -= HOUR
    assert let_in(counts, [rule], Asking(1, "next", now + 60, has_turn=True), now) is not None
    assert let_in(counts, [rule], Asking(1, "next", now + 121, has_turn=True), now + 61) is None


def test_a_pause_lasts_no_hour_longer(clocks):
    huey = MemoryHuey("app")
    state = state_of(huey)
    request = OutgoingRequest("call", "api.example.com", "m", "live", "account", {})
    pauses.note_pause(state, request, 30.0)
    clocks.set_by = -HOUR
    assert 25 < pauses.find_delay(state, request) < 31
    clocks.passed += 31
    assert pauses.find_delay(state, request) == 0


@pytest.mark.parametrize("set_by", [HOUR, -HOUR])
def test_the_page_sees_a_worker_that_lives_with_its_next_heartbeat_and_one_that_died(clocks, set_by):
    huey = MemoryHuey("app")
    publish_jobs(huey)
    store = huey.publisher.store
    store.begin_worker()
    store.heartbeats.beat()
    assert [row.is_alive for row in read_workers(huey)] == [True]
    clocks.set_by = set_by
    assert [row.is_alive for row in read_workers(huey)] == [False]  # as one that died
    store.heartbeats._due = dict.fromkeys(store.heartbeats._due, 0.0)
    store.heartbeats.beat()
    assert [row.is_alive for row in read_workers(huey)] == [True]
    store.end_worker()
