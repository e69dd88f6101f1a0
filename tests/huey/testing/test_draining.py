"""drain_queue, run_periodic and the testing modes."""

import datetime as dt
import itertools
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
import time_machine
from huey import Huey, MemoryHuey, crontab
from huey.api import Task, chord, group
from huey.exceptions import CancelExecution, RetryTask
from huey.storage import MemoryStorage

import aquila.huey
from aquila.errors import ConfigError, TaskContractBroken, TaskError
from aquila.huey import instrument
from aquila.huey.testing import (
    all_enqueued,
    assert_enqueued,
    drain_queue,
    draining,
    perform_job,
    run_periodic,
    use_test_queue,
)
from aquila.huey.testing.periodic import note_nothing_due
from tests.huey.sample_tasks import failing, returning


@pytest.fixture
def done():
    return []


@pytest.fixture
def note(huey, done):
    @huey.task()
    def note(value):
        done.append(value)
        return value

    return note


def test_tasks_are_executed_in_order_and_counted(huey, note, done):
    for number in range(3):
        note(number)
    drained = drain_queue()
    assert drained == {"complete": 3}
    assert done == [0, 1, 2]
    assert [run.value for run in drained.runs] == [0, 1, 2]
    assert drained["error"] == 0
    assert huey.pending_count() == 0
    assert drain_queue() == {}


def test_priority_decides_the_order_among_what_is_enqueued_on_the_way_too(huey, note, done):
    @huey.task()
    def spawn():
        note("spawned", priority=10)
        done.append("spawn")

    spawn(priority=5)
    note("last")
    drain_queue()
    assert done == ["spawn", "spawned", "last"]


def test_every_way_to_end_is_counted(huey, note):
    @huey.task()
    def end(how):
        if how is not None:
            raise how

    never = note.s(1)
    huey.revoke(never)
    huey.enqueue(never)
    note(1, expires=dt.datetime(2020, 1, 1))
    for how in (None, ValueError(), CancelExecution()):
        end(how)

    @huey.task()
    @huey.lock_task("held")
    def locked():
        return 1

    locked()
    end(RetryTask(delay=60))
    with huey.lock_task("held"):
        drained = drain_queue(raise_errors=False)
    assert drained == {
        "complete": 1, "error": 1, "canceled": 1, "revoked": 1, "expired": 1, "locked": 1, "retry": 1, "scheduled": 1,
    }  # fmt: skip


def test_the_first_exception_that_no_retry_follows_is_raised(huey, note, done):
    fail = failing(huey, ValueError("boom"), name="fail")
    note(1)
    fail()
    note(2)
    with pytest.raises(ValueError, match="boom"):
        drain_queue()
    assert done == [1]
    assert [task.args for task in all_enqueued()] == [(2,)]


def test_scheduled_tasks_wait_unless_with_scheduled_is_given(huey, note, done):
    note.schedule(("late",), delay=3600)
    note("now")
    assert drain_queue() == {"complete": 1, "scheduled": 1}
    assert done == ["now"]
    assert huey.scheduled_count() == 1
    assert drain_queue(with_scheduled=True) == {"complete": 1}
    assert done == ["now", "late"]


def test_scheduled_tasks_are_executed_each_at_its_own_time(huey, note, done):
    note.schedule((2,), delay=7200, expires=7300)
    note.schedule((1,), delay=3600, expires=3700)
    assert drain_queue(with_scheduled=True) == {"complete": 2}
    assert done == [1, 2]


def test_a_schedule_is_read_in_a_time_that_grows_with_its_length_and_not_with_its_square(huey, note, done, monkeypatch):
    messages, read = [], huey.deserialize_task
    monkeypatch.setattr(huey, "deserialize_task", lambda data: messages.append(data) or read(data))
    for number in range(40):
        note.schedule((number,), delay=3600 - number)
    assert drain_queue(with_scheduled=True) == {"complete": 40}
    assert done == list(range(39, -1, -1))
    assert len(messages) == 3 * 40  # out of the queue, which is where it begins, out of the schedule, and to execute it


def test_a_scheduled_message_that_cannot_be_read_takes_no_other_out_of_the_schedule(huey, note, done):
    note.schedule((1,), delay=60)
    huey.storage.add_to_schedule(b"damaged", huey._get_timestamp() + dt.timedelta(seconds=120))
    note.schedule((3,), delay=180)
    with pytest.raises(TaskError, match="in the schedule of 'app' cannot be read"):
        drain_queue(with_scheduled=True)
    assert (done, huey.scheduled_count()) == ([1], 2)


@pytest.mark.parametrize("utc", [True, False])
@pytest.mark.parametrize("form", ["timedelta", "naive", "aware"])
def test_scheduled_tasks_are_executed_up_to_a_moment(utc, form, done):
    huey = MemoryHuey(utc=utc)

    @huey.task()
    def note(value):
        done.append(value)

    until = {
        "timedelta": dt.timedelta(hours=2),
        "naive": dt.datetime.now() + dt.timedelta(hours=2),
        "aware": dt.datetime.now(dt.UTC) + dt.timedelta(hours=2),
    }[form]
    with use_test_queue(huey):
        note.schedule((1,), delay=3600)
        note.schedule((3,), delay=3 * 3600)
        assert drain_queue(with_scheduled=until) == {"complete": 1, "scheduled": 1}
    assert done == [1]


def test_time_machine_moves_huey(huey, note):
    note.schedule((1,), delay=3600)
    assert drain_queue() == {"scheduled": 1}
    with time_machine.travel(dt.datetime.now(dt.UTC) + dt.timedelta(hours=2)):
        assert drain_queue(with_scheduled=dt.timedelta(0)) == {"complete": 1}


def test_without_recursion_only_what_was_there_is_executed(huey, note, done):
    @huey.task(retries=1)
    def spawn():
        note("spawned")
        note("urgent", priority=10)
        raise ValueError

    spawn()
    note("there")
    drained = drain_queue(with_recursion=False)
    assert drained == {"error": 1, "complete": 1}
    assert done == ["there"]
    note("later", priority=5)
    assert [(task.name, task.args) for task in all_enqueued()] == [
        ("note", ("urgent",)), ("note", ("later",)), ("note", ("spawned",)), ("spawn", ()),
    ]  # fmt: skip


def test_a_limit_holds(huey, note, done):
    for number in range(5):
        note(number)
    assert drain_queue(with_limit=2) == {"complete": 2}
    assert done == [0, 1]
    assert huey.pending_count() == 3


def test_pipelines_groups_and_chords_run_to_their_end(huey):
    @huey.task()
    def add(a, b):
        return a + b

    @huey.task()
    def total(values):
        return sum(values)

    pipeline = huey.enqueue(add.s(1, 2).then(add, 10).then(add, 100))
    members = huey.enqueue(group([add.s(n, n) for n in range(3)]))
    result = huey.enqueue(chord([add.s(n, n) for n in range(4)], total))
    assert drain_queue() == {"complete": 3 + 3 + 4 + 1}
    assert pipeline.get() == [3, 13, 113]
    assert members.get() == [0, 2, 4]
    assert result.get() == 12


def test_an_error_handler_runs(huey, done):
    fail = failing(huey, ValueError("boom"), name="fail")

    @huey.task()
    def handle(error):
        done.append(str(error))

    huey.enqueue(fail.s().error(handle))
    drained = drain_queue(raise_errors=False)
    assert drained == {"error": 1, "complete": 1}
    assert str(drained.runs[0].exception) == "boom"
    assert done == ["boom"]


@pytest.mark.parametrize("kind", ["file", "sqlite", "redis", "postgres"])
def test_on_any_storage_it_is_the_same(kind, make_huey, done):
    huey = make_huey(kind)

    @huey.task(retries=1)
    def note(value):
        done.append(value)
        if len(done) == 1:
            raise ValueError
        return value

    with use_test_queue(huey, storage="own"):
        note("a")
        note.schedule(("c",), delay=120)
        note.schedule(("b",), delay=60)
        assert len(all_enqueued()) == 3
        assert drain_queue() == {"error": 1, "complete": 1, "scheduled": 2}
        assert drain_queue(with_scheduled=True) == {"complete": 2}
        assert drain_queue() == {}
    assert done == ["a", "a", "b", "c"]


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_connection_that_a_test_queue_has_opened_is_closed_with_it(kind, make_huey):
    storage = make_huey(kind).storage
    huey = Huey("plain", storage_class=lambda *_, **__: storage)
    task = huey.task()(lambda: None)
    with use_test_queue(huey, storage="own"):
        task()
        opened = storage._conn
    assert opened is not None
    assert storage._conn is None

    assert huey.pending_count() == 1  # opens it again, outside of a test
    with use_test_queue(huey, storage="own"):
        task()
    assert storage._conn is not None


# Periodic tasks


@pytest.fixture
def nightly(huey, done):
    @huey.periodic_task(crontab(minute="0", hour="2"))
    def nightly():
        done.append("nightly")
        return "result"

    @huey.periodic_task(crontab(minute="*/30"))
    def half_hourly():
        done.append("half-hourly")

    return nightly


def test_periodic_tasks_of_a_moment_are_executed(huey, nightly, done):
    runs = run_periodic(dt.datetime(2026, 1, 1, 2, 0))
    assert done == ["nightly", "half-hourly"]
    assert [run.value for run in runs] == ["result", None]
    assert [run.stored for run in runs] == [None, None]
    assert run_periodic(moment := dt.datetime(2026, 1, 1, 2, 1)) == []
    due = f"Due next:\n  2026-01-01 02:30  {__name__}.half_hourly\n  2026-01-02 02:00  {__name__}.nightly"
    assert note_nothing_due(moment)() == f"nothing of 'app' was due at 2026-01-01 02:01 UTC. {due}"


def test_without_a_periodic_task_that_is_due_soon_that_is_said(huey):
    moment = dt.datetime(2026, 1, 1)
    assert note_nothing_due(moment)().endswith("2026-01-01 00:00 UTC. It has no periodic task.")
    huey.periodic_task(crontab(month="1", day="1", hour="0", minute="0"), name="yearly")(dict)
    assert note_nothing_due(moment)().endswith("Due next:\n  not within 31 days  builtins.yearly")


def test_periodic_tasks_of_a_stretch_are_executed_in_order(nightly, done):
    run_periodic(dt.datetime(2026, 1, 1, 1, 30), until=dt.datetime(2026, 1, 1, 2, 30))
    assert done == ["half-hourly", "nightly", "half-hourly", "half-hourly"]
    with pytest.raises(ConfigError, match="ends before it begins"):
        run_periodic(dt.datetime(2026, 1, 2), until=dt.datetime(2026, 1, 1))


def test_a_stretch_that_begins_within_a_minute_has_the_minute_in_which_it_ends(nightly, done):
    run_periodic(dt.datetime(2026, 1, 1, 1, 59, 30), until=dt.datetime(2026, 1, 1, 2, 30))
    assert done == ["nightly", "half-hourly", "half-hourly"]
    run_periodic(dt.datetime(2026, 1, 1, 1, 30, 30), until=dt.datetime(2026, 1, 1, 1, 59, 59))
    assert done[3:] == ["half-hourly"]


def test_a_moment_may_have_a_zone_and_is_now_without_one(nightly, done):
    run_periodic(dt.datetime(2026, 1, 1, 5, 0, tzinfo=dt.timezone(dt.timedelta(hours=3))))
    with time_machine.travel(dt.datetime(2026, 1, 1, 2, 0, tzinfo=dt.UTC)):
        run_periodic()
    assert done == ["nightly", "half-hourly"] * 2


def test_a_periodic_task_with_a_parameter_that_no_scheduler_fills_is_refused(huey):
    @huey.periodic_task(lambda moment: True)
    def report(day):
        pass

    with pytest.raises(TaskContractBroken, match=r"report\(day\) cannot be called like that: .*'day'"):
        run_periodic()


@pytest.mark.parametrize("retries", [0, 1])
def test_a_periodic_task_that_fails_raises_unless_it_is_retried(huey, retries):
    @huey.periodic_task(lambda moment: True, retries=retries)
    def fail():
        raise ValueError("boom")

    if retries:
        (run,) = run_periodic()
        assert (run.state, run.retry.left) == ("error", 0)
    else:
        with pytest.raises(ValueError, match="boom"):
            run_periodic()


# Modes


def test_a_test_queue_leaves_pending_tasks_alone():
    huey = MemoryHuey()
    task = returning(huey, 1, name="task")
    task()
    storage = huey.storage
    with use_test_queue(huey) as under_test:
        assert under_test is huey
        assert huey.pending_count() == 0
        task()
        task()
    assert huey.storage is storage
    assert huey.pending_count() == 1


def test_a_test_queue_turns_immediate_mode_off_until_it_is_closed():
    huey = MemoryHuey(immediate=True)
    task = returning(huey, 1, name="task")

    with use_test_queue(huey):
        task()
        assert_enqueued(task)
    assert huey.immediate


def test_a_test_that_turns_immediate_mode_on_and_off_keeps_its_test_queue(make_huey):
    huey = make_huey("sqlite")
    real = huey.storage
    task = returning(huey, 1, name="task")

    with use_test_queue(huey):
        huey.immediate = True
        assert task().get() == 1
        huey.immediate = False
        task()
        assert_enqueued(task)
    assert huey.storage is real
    assert huey.pending_count() == 0
    assert "create_storage" not in vars(huey)


def test_a_huey_that_is_not_under_test_is_refused_and_not_taken_for_an_empty_one():
    huey = MemoryHuey("mail")
    returning(huey, 1, name="send")()
    with pytest.raises(ConfigError, match="the Huey 'mail' is not under test"):
        drain_queue(huey=huey)


def test_modes_nest(huey, note, done):
    note("outer")
    with use_test_queue(huey, "inline"):
        note("inline")
        assert done == ["inline"]
        with use_test_queue(huey):
            note("inner")
            assert len(all_enqueued()) == 1
    assert [task.args for task in all_enqueued()] == [("outer",)]


def test_own_storage_is_emptied_first(make_huey):
    huey = make_huey("sqlite")
    task = returning(huey, 1, name="task")
    task()
    huey.execute(huey.dequeue())
    task()
    huey.add_schedule(task.s(eta=dt.datetime(2100, 1, 1)))
    with use_test_queue(huey, storage="own"):
        assert (huey.pending_count(), huey.scheduled_count(), huey.result_count()) == (0, 0, 0)
        task()
    assert huey.pending_count() == 1


def test_a_given_storage_is_used(huey):
    storage = MemoryStorage()
    with use_test_queue(huey, storage=storage):
        assert huey.storage is storage


def test_a_wrong_mode_or_storage_is_refused(huey):
    with pytest.raises(ConfigError, match="'manual' or 'inline'"), use_test_queue(huey, "fast"):
        pass
    with pytest.raises(ConfigError, match="storage="), use_test_queue(huey, storage="redis"):
        pass
    message = r"open aquila\.huey\.testing\.use_test_queue\(huey\)$"
    with pytest.raises(ConfigError, match=message), use_test_queue(huey, MemoryHuey("mail")):
        pass


def test_inline_executes_after_a_round_trip_over_the_wire(huey):
    @huey.task()
    def append(items):
        items.append(1)
        return items

    with use_test_queue(huey, "inline"):
        items = []
        assert append(items).get() == [1]
        assert items == []
        with pytest.raises((AttributeError, pickle.PicklingError)):
            append(lambda: 1)


def test_inline_raises_the_exception_itself_when_no_retry_is_left(huey):
    attempts = []
    boom = ValueError("boom")

    @huey.task(retries=2)
    def fail():
        attempts.append(1)
        raise boom

    @huey.task()
    def parent():
        fail()

    with use_test_queue(huey, "inline"):
        with pytest.raises(ValueError, match="boom") as caught:
            fail()
        assert caught.value is boom
        assert len(attempts) == 3
        with pytest.raises(ValueError, match="boom"):
            parent()
        with pytest.raises(ValueError, match="boom"):
            huey.enqueue(parent.s())


def test_inline_a_follower_that_fails_raises_in_the_caller(huey):
    fine = returning(huey, 1, name="fine")

    @huey.task()
    def fail(value):
        raise ValueError("boom")

    with use_test_queue(huey, "inline"), pytest.raises(ValueError, match="boom"):
        huey.enqueue(fine.s().then(fail))


def test_inline_what_is_for_later_waits(huey, note, done):
    with use_test_queue(huey, "inline"):
        note.schedule((1,), delay=60)
        assert done == []
        assert drain_queue(with_scheduled=True) == {"complete": 1}


def test_inline_keeps_the_rules(huey):
    task = returning(huey, 1, name="task")

    @huey.pre_execute()
    def guard(task):
        raise ValueError("guard")

    with use_test_queue(huey, "inline"), pytest.raises(TaskContractBroken, match="guard"):
        task()


def test_performing_inside_inline_mode_runs_what_the_task_enqueues(huey, note, done):
    @huey.task()
    def parent():
        note("child")
        return 1

    with use_test_queue(huey, "inline"):
        assert perform_job(parent).value == 1
    assert done == ["child"]


def test_a_mini_huey_is_refused_and_left_unchanged():
    mini_huey = pytest.importorskip("huey.contrib.mini", reason="gevent is not installed")
    mini = mini_huey.MiniHuey("app")
    add = mini.task()(lambda a, b: a + b)
    before = dict(vars(mini))
    for use in (
        instrument,
        lambda huey: use_test_queue(huey).__enter__(),
        lambda huey: use_test_queue(huey, "inline").__enter__(),
        lambda huey: use_test_queue(huey, storage="own").__enter__(),
    ):
        with pytest.raises(ConfigError, match=r"huey\.contrib\.mini\.MiniHuey is no huey\.Huey: .* Use aquila\.huey\."):
            use(mini)
    assert (type(mini), vars(mini)) == (mini_huey.MiniHuey, before)
    assert add(2, 3).get(timeout=60) == 5


def test_time_is_skipped_for_schedules_retries_and_growing_delays(huey):
    moments = []

    @huey.task(retries=3, retry_delay=10, retry_backoff=3)
    def flaky():
        moments.append(huey._get_timestamp())
        if len(moments) < 4:
            raise ConnectionError

    flaky.schedule(delay=3600)
    drained = drain_queue(with_time_skipping=True)
    assert drained == {"error": 3, "complete": 1}
    assert drained.skipped.total_seconds() == pytest.approx(3600 + 10 + 30 + 90, abs=5)
    assert [(later - earlier).total_seconds() for earlier, later in itertools.pairwise(moments)] == [10, 30, 90]
    assert [run.attempt for run in drained.runs] == [1, 2, 3, 4]
    assert [run.retry and run.retry.delay for run in drained.runs] == [10, 30, 90, None]


def test_the_schedules_of_a_task_are_counted_from_its_own_time(huey, done):
    start = huey._get_timestamp()

    @huey.task()
    def chain(left):
        done.append(round((huey._get_timestamp() - start).total_seconds()))
        if left:
            chain.schedule((left - 1,), delay=dt.timedelta(hours=1))

    @huey.task()
    def between():
        done.append("between")

    chain(3)
    between.schedule(delay=5400)
    assert drain_queue(with_time_skipping=True)["complete"] == 5
    assert done == [0, 3600, "between", 7200, 10800]


def test_a_task_that_is_overdue_does_not_put_the_clock_back(huey, note, done):
    @huey.task()
    def late():
        note.schedule(("overdue",), eta=huey._get_timestamp() - dt.timedelta(hours=1))

    late.schedule(delay=7200)
    drained = drain_queue(with_time_skipping=True)
    assert done == ["overdue"]
    assert drained.skipped.total_seconds() == pytest.approx(7200, abs=5)


def test_a_time_to_skip_at_most_leaves_what_is_due_later(huey):
    fails = failing(huey, name="fails", retries=1, retry_delay=100)
    fails.schedule(delay=50)
    assert drain_queue(with_time_skipping=dt.timedelta(seconds=60)) == {"error": 1, "scheduled": 1}
    with pytest.raises(ValueError):  # noqa: PT011
        drain_queue(with_scheduled=True)


def test_no_time_to_skip_is_a_limit_too(note, done):
    note(1)
    note.schedule((2,), delay=50)
    drain_queue(with_time_skipping=dt.timedelta(0), move_clock=print)
    assert done == [1]


@pytest.mark.parametrize("how", ["with_scheduled", "with_time_skipping"])
def test_the_time_until_a_task_expires_begins_when_a_scheduler_would_enqueue_it(note, how):
    note.schedule((1,), delay=3600, expires=60)
    assert drain_queue(**{how: True}) == {"complete": 1}


def test_tasks_expire_and_retry_tasks_come_back_in_skipped_time(huey, done):
    @huey.task()
    def fresh():
        done.append("fresh")

    @huey.task(context=True)
    def again(task=None):
        done.append("again")
        if len(done) < 3:
            raise RetryTask(delay=1000)

    @huey.task()
    def late():
        now = huey._get_timestamp().replace(tzinfo=dt.UTC)
        fresh.schedule(delay=120, expires=now + dt.timedelta(seconds=60))

    late.schedule(delay=7200)
    again()
    drained = drain_queue(with_time_skipping=True)
    assert drained == {"retry": 2, "complete": 2, "expired": 1}
    assert done == ["again"] * 3


def test_a_rate_limit_is_over_when_its_time_is_skipped(huey, done):
    @huey.task()
    @huey.rate_limit("api", limit=1, per=60)
    def call(number):
        done.append(number)

    for number in range(3):
        call(number)
    drained = drain_queue(with_time_skipping=True)
    assert sorted(done) == [0, 1, 2]
    assert drained["complete"] == 3
    assert drained.skipped < dt.timedelta(minutes=3)


def test_a_drain_that_waits_for_a_rate_limit_in_vain_names_what_skips_its_time(huey, monkeypatch):
    @huey.task()
    @huey.rate_limit("api", limit=1, per=1_000_000_000)
    def call(): ...

    call()
    call()
    monkeypatch.setattr(draining, "_MOST_TASKS", 5)
    with pytest.raises(TaskError, match="with_time_skipping=True where tasks wait for a time"):
        drain_queue(with_scheduled=True)


def test_a_long_chain_of_tasks_that_enqueue_the_next_is_drained(huey):
    @huey.task()
    def read_page(left):
        if left:
            read_page(left - 1)

    read_page(1_500)
    assert drain_queue() == {"complete": 1_501}


@pytest.mark.parametrize("with_recursion", [True, False])
def test_a_queue_that_is_only_long_is_drained(huey, with_recursion, monkeypatch):
    monkeypatch.setattr(draining, "_MOST_TASKS", 50)
    leaf = returning(huey, 1, name="leaf")

    @huey.task()
    def branch():
        leaf()

    for _ in range(50):
        branch() if with_recursion else leaf()
    assert sum(drain_queue(with_recursion=with_recursion).values()) == (100 if with_recursion else 50)


@pytest.mark.parametrize(
    ("children", "skipping", "advice"), [(1, False, ", or with_time_skipping=.*"), (2, False, ".*"), (1, True, "")]
)
def test_a_queue_that_fills_for_ever_is_an_error(huey, children, skipping, advice, monkeypatch):
    monkeypatch.setattr(draining, "_MOST_TASKS", 20)
    executed = []

    @huey.task()
    def again():
        executed.append(1)
        for _ in range(children):
            again()

    for _ in range(3):
        again()
    cause = r"tasks were executed and the queue still fills, next with .*\.again\(\): "
    with pytest.raises(TaskError, match=f"{cause}.* with_recursion=False{advice}$"):
        drain_queue(with_time_skipping=skipping)
    assert len(executed) < 100


def test_tasks_and_other_threads_see_the_real_time_unless_move_clock_moves_it(huey):
    seen = []

    @huey.task()
    def look():
        with ThreadPoolExecutor(1) as pool:
            seen.append((dt.datetime.now(dt.UTC), pool.submit(huey._get_timestamp).result()))

    start = dt.datetime.now(dt.UTC)
    look.schedule(delay=86_400)
    drain_queue(with_time_skipping=True)
    assert seen[0][0] - start < dt.timedelta(hours=1)
    assert seen[0][1] - start.replace(tzinfo=None) < dt.timedelta(hours=1)
    look.schedule(delay=86_400)
    with time_machine.travel(start) as traveller:
        drain_queue(with_time_skipping=True, move_clock=traveller.move_to)
        assert seen[1][0] - start > dt.timedelta(hours=23)
    assert abs(dt.datetime.now(dt.UTC) - start) < dt.timedelta(hours=1)
    assert huey._get_timestamp() - start.replace(tzinfo=None) < dt.timedelta(hours=1)


@pytest.mark.parametrize("option", ["with_scheduled", "with_time_skipping"])
@pytest.mark.parametrize("value", [3600, "all", dt.date(2026, 1, 1)], ids=str)
def test_a_value_that_is_no_time_is_refused(huey, option, value):
    with pytest.raises(ConfigError, match=r"take True, a datetime or a timedelta, .*, not "):
        drain_queue(**{option: value})


@pytest.mark.parametrize("options", [{"with_scheduled": True}, {"with_time_skipping": False}], ids=str)
def test_options_about_time_that_contradict_each_other_are_refused(huey, options):
    with pytest.raises(ConfigError, match="with_time_skipping"):
        drain_queue(**{"with_time_skipping": True, "move_clock": print, **options})


def test_draining_does_not_read_the_whole_queue_for_each_task(monkeypatch):
    huey = MemoryHuey("jobs")

    @huey.task()
    def job(number):
        return number

    with use_test_queue(huey):
        for number in range(3):
            job(number)
        job.schedule((3,), delay=60)
        for name in ("enqueued_items", "scheduled_items"):
            monkeypatch.setattr(huey.storage, name, lambda *arguments: pytest.fail("everything was read"))
        assert [run.value for run in drain_queue().runs] == [0, 1, 2]


@pytest.mark.parametrize("kind", [MemoryHuey, aquila.huey.MemoryHuey])
def test_an_overridden_enqueue_is_called(kind):
    class Counting(kind):
        enqueued = 0

        def enqueue(self, task):
            self.enqueued += 1
            return super().enqueue(task)

    huey = Counting("counting")

    @huey.task()
    def add(a, b):
        return a + b

    with use_test_queue(huey):
        add(1, 2)
        assert drain_queue().runs[0].value == 3
    assert huey.enqueued == 1


@pytest.mark.parametrize("kind", ["receiver", "hook"])
def test_a_receiver_or_a_hook_that_changes_the_stored_result_is_found(huey, note, kind):
    @(huey.signal("complete") if kind == "receiver" else huey.post_execute())
    def change(*about):
        huey.put_result(next(each.id for each in about if isinstance(each, Task)), "another")

    note(1)
    with pytest.raises(TaskContractBroken, match=r"1 and came out as .*another"):
        drain_queue()


def test_a_run_keeps_its_stored_result_although_that_is_fetched_later(huey):
    @huey.task()
    def make():
        return {"made": [1]}

    result = make()
    drained = drain_queue()
    assert result() == {"made": [1]}  # and removes it
    assert drained.runs[0].stored == {"made": [1]}
    assert drained.runs is drained.runs
