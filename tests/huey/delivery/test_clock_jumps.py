"""Somebody sets the clock of the storage, forward or back by an hour: nothing is done twice, nothing waits an hour."""

import pytest

from aquila.engine.calls.request_gate import OutgoingRequest
from aquila.errors import BudgetExceeded
from aquila.events import Usage
from aquila.huey import is_conflict
from aquila.huey.delivery import rescuer as rescuer_module
from aquila.huey.delivery.choosing_copies import copies_of
from aquila.huey.delivery.consumer_heartbeats import BEATS, CONSUMERS, LOST_AFTER
from aquila.huey.delivery.rescuer import Rescuer, requeue_lost_tasks
from aquila.huey.limits import provider_pauses
from aquila.huey.limits.budgets import parse_budget, reserve_amounts
from aquila.huey.limits.counting import AdmissionRequest, Counts, LimitTurn, admit_request
from aquila.huey.limits.rules import parse_limits
from aquila.huey.limits.shared_limits import acquire, counters_of
from aquila.huey.limits.unique_jobs import begin_execution
from aquila.huey.live import publish_jobs
from aquila.huey.live.worker_heartbeats import read_workers
from aquila.huey.state import state_of
from tests.huey.delivery.test_rescuing import lose
from tests.huey.storages import SHARED, STORAGES
from tests.support.slow import slow_but

HOUR, DAY = 3600.0, 86_400.0
BETWEEN = LOST_AFTER / BEATS


@pytest.fixture(params=slow_but(["sqlite", "redis"], SHARED))
def huey(request, make_aquila_huey):
    made = make_aquila_huey(request.param, keep_running=True)
    made.task(name="job")(lambda: 1)
    return made


@pytest.fixture(params=slow_but(["redis"], STORAGES))
def plain(request, make_aquila_huey):
    return make_aquila_huey(request.param)


@pytest.fixture
def state(plain):
    return state_of(plain)


def enqueue(huey):
    return next(iter(huey._registry._registry.values()))()


def beat(huey, owner="alive"):
    state = state_of(huey)
    state.put(CONSUMERS, owner, b'{"seen": %f}' % state.now(), order=state.now())


@pytest.mark.parametrize("lives", [True, False])
@pytest.mark.parametrize("set_by", [HOUR, -HOUR])
def test_a_consumer_is_dead_after_a_row_of_looks_whatever_the_clock_of_the_storage_says(huey, clocks, set_by, lives):
    lose(huey, enqueue(huey), owner="alive", seen=1)
    rescuer = Rescuer(huey)
    rescuer.look()
    clocks.set_by = set_by
    for _ in range(BEATS):
        assert huey.pending_count() == 0
        if lives:
            beat(huey)
        clocks.passed += BETWEEN
        rescuer.look()
    assert huey.pending_count() == (not lives)
    assert state_of(huey).count(CONSUMERS) == lives


def test_the_looks_of_consumers_that_live_only_for_seconds_are_counted_together(huey, clocks):
    """One that ends again and again, and is started again by its supervisor."""
    lose(huey, enqueue(huey))
    Rescuer(huey).look()
    for _ in range(BEATS):
        for _ in range(BEATS + 1):  # Looks at one moment count as one.
            Rescuer(huey).look()
        assert huey.pending_count() == 0
        clocks.passed += BETWEEN
        Rescuer(huey).look()
    assert huey.pending_count() == 1


def test_a_consumer_that_sends_heartbeats_lives(huey, clocks):
    huey.enqueue(enqueue(huey))
    life, rescuer = huey.tasks_in_hand.kept.life, Rescuer(huey)
    assert huey.dequeue() is not None
    try:
        for _ in range(BEATS + 1):
            life.beat()
            clocks.passed += BETWEEN
            rescuer.look()
        assert huey.pending_count() == 0
    finally:
        life.end(forget=True)


def test_a_look_that_lasts_until_another_consumer_has_looked_makes_nobody_dead(huey, clocks, monkeypatch):
    lose(huey, enqueue(huey), owner="alive")
    state = state_of(huey)
    replace = type(state).replace
    for _ in range(BEATS):
        Rescuer(huey).look()
        clocks.passed += BETWEEN

    def sleep(*arguments, **options):
        monkeypatch.setattr(type(state), "replace", replace)
        beat(huey)
        Rescuer(huey).look()
        return replace(*arguments, **options)

    monkeypatch.setattr(type(state), "replace", sleep)
    Rescuer(huey).look()
    assert huey.pending_count() == 0


@pytest.mark.parametrize(
    "value", [b"", b"[]", b'{"dead": 1}', b'{"dead": ["x", "y"]}', b'{"dead": ["x", 1e999]}', b"[" * 100_000]
)
def test_looks_go_on_whatever_stands_in_the_place_of_the_last_one(huey, clocks, value):
    lose(huey, enqueue(huey))
    state_of(huey).put("looks", "last", value, order=0)
    for _ in range(BEATS + 1):
        Rescuer(huey).look()
        clocks.passed += BETWEEN
    assert huey.pending_count() == 1


def test_looks_that_the_storage_does_not_answer_make_nobody_dead(huey, clocks, monkeypatch):
    lose(huey, enqueue(huey), owner="alive", seen=1)
    rescuer = Rescuer(huey)
    rescuer.look()
    with monkeypatch.context() as away:
        away.setattr(type(state_of(huey)), "entries", lambda *_, **options: 1 / 0)
        for _ in range(BEATS):
            clocks.passed += BETWEEN
            with pytest.raises(ZeroDivisionError):
                rescuer.look()
    rescuer.look()
    assert huey.pending_count() == 0


def test_a_consumer_that_sends_a_heartbeat_while_its_tasks_are_taken_over_stays_listed(huey, monkeypatch):
    lose(huey, enqueue(huey), owner="alive")
    take_over = rescuer_module.take_over

    def take_over_and_beat(*arguments):
        beat(huey)
        return take_over(*arguments)

    monkeypatch.setattr(rescuer_module, "take_over", take_over_and_beat)
    assert len(requeue_lost_tasks(huey)) == 1
    assert [entry.key for entry in state_of(huey).entries(CONSUMERS)] == ["alive"]


def test_a_limit_holds_on_and_keeps_nobody_out_for_an_hour_where_the_clock_is_put_back():
    (rule,) = parse_limits("*: 10/min")
    counts, now = Counts(), 1_800_000_000.0

    def ask(at):
        asking = AdmissionRequest(1, f"{at}", 60, has_turn=True)
        return admit_request(counts, [rule], asking, at)

    assert [ask(now + second) for second in range(10)] == [None] * 10
    now += 10 - HOUR
    counts = Counts.read(counts.write())
    assert ask(now).at - now < 62
    assert ask(now + 62) is None


def test_a_limit_of_a_model_keeps_nobody_out_though_another_model_was_asked_first_after_the_clock_was_put_back():
    of_all, of_one = parse_limits("openai: 60/min; openai/gpt-5*: 1/min")
    counts, now = Counts(), 1_800_000_000.0

    def ask(at, *rules):
        return admit_request(counts, rules, AdmissionRequest(1, f"{at}", 60, has_turn=True), at)

    assert ask(now, of_all, of_one) is None
    assert ask(now - HOUR, of_all) is None
    assert ask(now - HOUR + 1, of_all, of_one).at < now - HOUR + 62  # It holds on.
    assert ask(now - HOUR + 62, of_all, of_one) is None


@pytest.mark.parametrize("set_by", [HOUR, -HOUR])
def test_a_limit_counts_on_in_the_storage_whose_clock_was_set(clocks, state, set_by):
    counters = counters_of(parse_limits("*: 2/min, 3 at once"))

    def ask():
        now = state.now()
        found = acquire(state, counters, AdmissionRequest(2, f"{clocks.time()}", 60), now)
        return (found.at - now) if isinstance(found, LimitTurn) else found

    first, second = ask(), ask()
    assert isinstance(ask(), float)
    first.settle(1, 1)
    clocks.set_by = set_by
    if set_by > 0:  # A period may have twice its limit.
        assert not isinstance(ask(), float)
    else:
        assert 0 < ask() < 93  # Behind the turn of the one before.
        second.settle(1, 1)
        clocks.passed = 180  # Turns that nobody has come for are over.
        assert not isinstance(ask(), float)


@pytest.mark.parametrize("set_by", [DAY, -DAY])
def test_a_budget_is_that_of_the_day_that_the_storage_says(clocks, state, set_by):
    caps, spent = parse_budget("10 tokens per day"), Usage(input_tokens=8)

    def spend():
        return reserve_amounts(state, caps, None, spent, task_id=None, now=state.now())

    spend()
    clocks.set_by = set_by
    spend()
    with pytest.raises(BudgetExceeded):
        spend()
    clocks.set_by = 0.0
    with pytest.raises(BudgetExceeded):
        spend()


@pytest.mark.parametrize("set_by", [HOUR, -HOUR])
def test_a_unique_job_that_waits_keeps_others_out_wherever_the_clock_is_set(clocks, plain, set_by):
    job = plain.task(unique=True)(lambda number: number)
    first = job(1)
    clocks.set_by = set_by
    assert is_conflict(job(1))
    assert plain.execute(plain.dequeue()) == 1
    assert not is_conflict(job(1))
    assert first.get() == 1


@pytest.mark.parametrize("set_by", [HOUR, -HOUR])
def test_a_unique_job_that_was_lost_keeps_others_out_until_it_has_been_done(clocks, huey, set_by):
    job = huey.task(unique=True)(lambda number: number)
    job(1)
    copy = copies_of(huey).take("killed", ())
    task = huey.deserialize_task(copy.data)
    task._aquila_copy = copy
    execution = begin_execution(huey, task)
    execution._ended.set()  # It is renewed no more.
    clocks.set_by = set_by
    assert is_conflict(job(1))  # There is a copy of it.
    assert is_conflict(job(1))


def test_a_request_that_waits_for_a_lost_slot_does_not_wait_an_hour_longer():
    (rule,) = parse_limits("*: 1 at once")
    counts, now = Counts(), 1_800_000_000.0
    assert admit_request(counts, [rule], AdmissionRequest(1, "killed", 60), now) is None
    now -= HOUR
    assert admit_request(counts, [rule], AdmissionRequest(1, "next", 60, has_turn=True), now) is not None
    assert admit_request(counts, [rule], AdmissionRequest(1, "next", 60, has_turn=True), now + 61) is None


def test_a_pause_lasts_no_hour_longer(clocks, state):
    request = OutgoingRequest("call", "api.example.com", "m", "live", "account", {})
    provider_pauses.note_pause(state, request, 30.0)
    clocks.set_by = -HOUR
    assert 25 < provider_pauses.find_pause(state, request)[0] < 31
    clocks.passed += 31
    assert provider_pauses.find_pause(state, request)[0] == 0


@pytest.mark.parametrize("set_by", [HOUR, -HOUR])
def test_the_page_sees_a_worker_that_lives_with_its_next_heartbeat_and_one_that_died(clocks, plain, set_by):
    publish_jobs(plain)
    store = plain.publisher.store
    store.begin_worker()
    store.heartbeats.beat()
    assert [row.is_alive for row in read_workers(plain)] == [True]
    clocks.set_by = set_by
    assert [row.is_alive for row in read_workers(plain)] == [False]  # as one that died
    store.heartbeats._due = dict.fromkeys(store.heartbeats._due, 0.0)
    store.heartbeats.beat()
    assert [row.is_alive for row in read_workers(plain)] == [True]
    store.end_worker()
