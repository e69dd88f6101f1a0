"""perform_job: one task, executed under every rule that a worker holds it to."""

import asyncio
import contextlib
import contextvars
import datetime as dt
import functools
import gc
import math
import signal
import threading
import time
import unittest
import weakref

import pytest
from huey import FileHuey, MemoryHuey, PriorityRedisHuey, RedisHuey
from huey.api import chord
from huey.exceptions import CancelExecution, RetryTask, TaskTimeout
from huey.registry import Message
from huey.serializer import Serializer
from huey.utils import Error

from aquila.errors import ConfigError, TaskContractBroken
from aquila.huey import MemoryHuey as AquilaMemoryHuey
from aquila.huey.serializing.serializer import MsgpackSerializer
from aquila.huey.testing import all_enqueued, build_task, drain_queue, perform_job, run_periodic, use_test_queue
from aquila.huey.testing.wire_comparison import find_difference
from tests.huey.sample_tasks import Array, failing, returning


@pytest.fixture(params=["pickle", "msgpack"])
def huey(request):
    huey = MemoryHuey("app", serializer=Serializer() if request.param == "pickle" else MsgpackSerializer())
    with use_test_queue(huey):
        yield huey


def test_a_run_says_how_its_task_ended(huey):
    @huey.task(retries=2)
    def add(a, b=0):
        return {"sum": a + b}

    run = perform_job(add, 1, b=2)
    assert run.value == {"sum": 3}
    assert run.stored == {"sum": 3}
    assert run.state == "complete"
    assert run.exception is None
    assert run.attempt == 1
    assert run.signals == ("executing", "complete")
    assert run.retry is None
    assert run.enqueued == ()
    assert run.task.args == (1,)
    assert run.task.kwargs == {"b": 2}
    assert run.duration >= 0


def test_a_run_reads_well(huey):
    @huey.task(name="double", retries=3)
    def double(n):
        double(n + 1)
        if n == 7:
            raise ValueError("seven")
        return n * 2

    text = repr(perform_job(double, 4))
    assert f"<TaskRun {__name__}.double complete on attempt 1 in " in text
    assert f"value=8; enqueued: {__name__}.double(5); signals: executing, complete>" in text
    text = repr(perform_job(double, 7, raises=ValueError))
    assert "exception=ValueError('seven'); retry at once, 2 left after it" in text
    assert len(repr(perform_job(returning(huey, "x" * 10_000)))) < 700


def test_the_exception_of_the_task_is_raised_as_it_is(huey):
    original = ValueError("boom")

    @huey.task()
    def fail():
        raise original from KeyError("cause")

    with pytest.raises(ValueError, match="boom") as caught:
        perform_job(fail)
    assert caught.value is original
    assert isinstance(caught.value.__cause__, KeyError)
    assert "error on attempt 1" in caught.value.__notes__[0]
    assert "; no retry; " in caught.value.__notes__[0]
    assert caught.traceback[-1].name == "fail"
    assert not [entry for entry in caught.traceback if entry.frame.f_globals["__name__"].startswith("huey")]


@pytest.mark.parametrize("kind", [AssertionError, pytest.fail.Exception, KeyboardInterrupt])
def test_what_fails_the_test_or_interrupts_it_passes_through_the_task(huey, kind):
    @huey.task()
    def failing():
        raise kind("from the task")

    with pytest.raises(kind, match="from the task"):
        perform_job(failing)


def test_an_expected_exception_returns_the_run(huey):
    fail = failing(huey, ValueError("boom"), name="fail")
    run = perform_job(fail, raises=(KeyError, ValueError))
    assert isinstance(run.exception, ValueError)
    assert run.state == "error"
    assert isinstance(run.stored, Error)
    with pytest.raises(TaskContractBroken, match=r"KeyError should have been raised.*ValueError\('boom'\)"):
        perform_job(fail, raises=KeyError)
    with pytest.raises(AssertionError, match=r"ValueError should have been raised.*value=1"):
        perform_job(returning(huey, 1), raises=ValueError)


# The wire


def test_the_task_gets_copies_of_its_arguments(huey):
    @huey.task()
    def append(items):
        items.append(4)
        return items

    items = [1, 2, 3]
    assert perform_job(append, items).value == [1, 2, 3, 4]
    assert items == [1, 2, 3]


@pytest.mark.parametrize(
    "argument", [threading.Lock(), lambda: 1, (n for n in ())], ids=["lock", "lambda", "generator"]
)
def test_an_argument_that_cannot_travel_is_refused(huey, argument):
    @huey.task()
    def take(argument):
        return 1

    with pytest.raises(TaskContractBroken, match="take cannot be enqueued"):
        perform_job(take, argument)


class ListsForTuples(Serializer):
    """As JSON does, also in the tasks that follow."""

    def _serialize(self, data):
        return super()._serialize(self._with_lists(data))

    def _with_lists(self, data):
        if not isinstance(data, Message):
            return data
        args = tuple(list(a) if isinstance(a, tuple) else a for a in data.args)
        return data._replace(args=args, on_complete=self._with_lists(data.on_complete))


def test_an_argument_that_arrives_as_another_type_is_refused():
    huey = MemoryHuey(serializer=ListsForTuples())

    @huey.task()
    def take(pair):
        return 1

    changed = r"take change on the wire: args\[0\] went in as tuple \(1, 2\) and came out as list \[1, 2\]"
    with pytest.raises(TaskContractBroken, match=changed):
        perform_job(take, (1, 2))
    with use_test_queue(huey), pytest.raises(TaskContractBroken, match=changed):
        perform_job(take.s(1).then(take, (1, 2)))


class FakeDatetime(dt.datetime):
    """As freezegun makes them, also where the message of a real one is read."""


class Ring:
    """An object that refers to itself."""

    def __init__(self):
        self.next = self

    def __repr__(self):
        return "ring"


@pytest.mark.parametrize(
    ("sent", "arrived", "change"),
    [
        ([1], [1.0], "it[0] went in as int 1 and came out as float 1.0"),
        ({"a": (1, [0])}, {"a": (1, [False])}, "it['a'][1][0] went in as int 0 and came out as bool False"),
        ({1: "a"}, {True: "a"}, "it went in with the key 1 and came out without it"),
        ({}, {"a": 1}, "it came out with a key 'a' that did not go in"),
        ([1, 2], [1], "it went in with 2 items and came out with 1"),
        ([float("nan")], [float("nan")], None),
        ([Array()], [Array()], None),
        ([Array(), 1], [Array(), 2], "it[1] went in as 1 and came out as 2"),
        (Ring(), Ring(), None),
        (dt.datetime(2026, 1, 1), FakeDatetime(2026, 1, 1), None),
    ],
    ids=str,
)
def test_a_change_on_the_wire_is_found_at_every_depth_by_value_and_by_type(sent, arrived, change):
    assert find_difference(sent, arrived, "it") == change


class Forgetful:
    """Equality by identity, and a state that pickle loses."""

    def __init__(self, number):
        self.number = number

    def __getstate__(self):
        return {"number": 0}


def test_a_message_that_no_worker_can_read_is_refused():
    class WriteOnly(Serializer):
        def _deserialize(self, data):
            raise ValueError("unreadable")

    huey = MemoryHuey(serializer=WriteOnly())
    take = returning(huey, 1, name="take")

    with pytest.raises(TaskContractBroken, match=r"can be enqueued, but no worker can read it: unreadable"):
        perform_job(take)


# The call


def test_a_call_that_does_not_fit_is_refused(huey):
    @huey.task()
    def two(a, b):
        return a

    for args, kwargs in [((1,), {}), ((1, 2, 3), {}), ((1, 2), {"c": 3})]:
        two(*args, **kwargs)  # Huey takes it.
        with pytest.raises(TaskContractBroken, match=r"two\(a, b\) cannot be called like that"):
            perform_job(two, *args, **kwargs)
        with pytest.raises(TaskContractBroken, match="cannot be called like that"):
            perform_job(two.s(*args, **kwargs))


@pytest.mark.parametrize(
    "name", ["eta", "delay", "id", "retries", "retry_delay", "retry_backoff", "priority", "expires", "timeout"]
)
def test_a_parameter_whose_keyword_huey_takes_is_refused(huey, name):
    scope = {}
    exec(f"def task({name}=None): return {name}", scope)
    task = huey.task(name=f"with_{name}")(scope["task"])
    with pytest.raises(TaskContractBroken, match=rf"{name}= for itself.* write kwargs=\{{'{name}': ...\}} here"):
        perform_job(task, **{name: 5})
    assert perform_job(task, 5).value == 5
    run = perform_job(task, kwargs={name: 5}, priority=3)
    assert (run.value, run.task.priority) == (5, 3)


def test_options_of_huey_reach_the_task(huey):
    @huey.task(context=True)
    def look(task=None):
        return [task.id, task.retries, task.priority, task.timeout]

    assert perform_job(look, id="me", retries=3, priority=7, timeout=9).value == ["me", 3, 7, 9]


@pytest.mark.parametrize("name", ["attempt", "raises"])
def test_a_parameter_with_the_name_of_an_option_is_refused_with_the_way_round(huey, name):
    namespace = {}
    exec(f"def odd({name}): return {name}", {"__name__": __name__}, namespace)
    odd = huey.task(retries=3)(namespace["odd"])

    with pytest.raises(ConfigError, match=rf"write perform_job\(odd, kwargs=\{{'{name}': ...\}}\)"):
        perform_job(odd, **{name: 1})
    run = perform_job(odd, kwargs={name: 7}, attempt=2)
    assert (run.value, run.attempt) == (7, 2)
    assert perform_job(odd, 7).value == 7
    assert perform_job(odd, args=(7,)).value == 7


def test_arguments_are_given_in_the_call_or_as_args_and_kwargs_but_not_both(huey):
    @huey.task()
    def add(a, b=0):
        return a + b

    with pytest.raises(ConfigError, match=r"arguments of the task beside them: 'b'"):
        perform_job(add, args=(1,), b=2)
    with pytest.raises(ConfigError, match=r"arguments of the task beside them\. Put all"):
        perform_job(add, 1, kwargs={"b": 2})
    assert perform_job(add, args=[1], kwargs={"b": 2}).value == 3


def test_a_parameter_named_kwargs_is_not_taken_for_the_arguments(huey):
    @huey.task()
    def odd(kwargs):
        return kwargs

    with pytest.raises(ConfigError, match=r"'kwargs'.*by position"):
        perform_job(odd, kwargs={"kwargs": 1})
    assert perform_job(odd, {"a": 1}).value == {"a": 1}
    assert perform_job(odd, args=[{"a": 1}]).value == {"a": 1}


def test_a_context_task_gets_itself(huey):
    @huey.task(context=True)
    def who(name, task=None):
        return [name, task.id]

    run = perform_job(who, "a")
    assert run.value == ["a", run.task.id]
    with pytest.raises(TaskContractBroken, match="context=True"):
        perform_job(who, "a", task=1)


@pytest.mark.parametrize("as_argument", [False, True])
@pytest.mark.parametrize("is_async", [False, True])
def test_a_context_manager_encloses_a_task(huey, is_async, as_argument):
    seen = []

    class Connection:
        def __enter__(self):
            seen.append("open")
            return "connection"

        def __exit__(self, *error):
            seen.append("closed")

    def job(*args):
        seen.append("executing")
        return args

    def job_of_one(number):
        return job(number)

    def job_of_two(connection, number):
        return job(connection, number)

    function = job_of_two if as_argument else job_of_one
    if is_async:
        called = function

        @functools.wraps(called)
        async def function(*args):
            await asyncio.sleep(0)
            return called(*args)

    task = huey.context_task(Connection(), as_argument=as_argument)(function)
    assert perform_job(task, 3).value == (("connection", 3) if as_argument else (3,))
    assert seen == ["open", "executing", "closed"]
    with pytest.raises(TaskContractBroken, match="too many"):
        perform_job(task, 3, 4)


def test_an_async_function_below_a_decorator_that_is_not_async_is_executed():
    def decorate(function):
        @functools.wraps(function)
        def decorated(*args):
            return function(*args)

        return decorated

    huey = AquilaMemoryHuey("app")

    @huey.task()
    @huey.lock_task("doubling")
    @decorate
    async def double(number):
        await asyncio.sleep(0)
        return number * 2, huey.is_locked("doubling")

    assert perform_job(double, 3).value == (6, True)
    assert not huey.is_locked("doubling")


def test_the_function_of_a_context_task_may_take_any_arguments(huey):
    @huey.context_task(contextlib.nullcontext("connection"), as_argument=True)
    def job(*args):
        return args

    assert perform_job(job, 3).value == ("connection", 3)


def test_a_task_that_is_not_registered_is_refused(huey):
    gone, first = returning(huey, 1, name="gone"), returning(huey, 1, name="first")
    gone.unregister()
    stranger = returning(MemoryHuey("other"), 1, name="first")
    for task in (gone.s(), stranger.s(), first.s().then(gone)):
        with pytest.raises(TaskContractBroken, match=r"(gone|first) is not registered on the Huey 'app'"):
            perform_job(task)


def test_something_that_is_no_task_is_refused(huey):
    with pytest.raises(ConfigError, match=r"decorated with @huey\.task"):
        perform_job(len, "a")
    with pytest.raises(ConfigError, match=r"decorated with @huey\.task"):
        build_task(len, "a")
    with pytest.raises(ConfigError, match="as it is"):
        perform_job(returning(huey).s(), 2)


def test_a_task_alone_needs_a_huey_under_test():
    huey = MemoryHuey()
    one = returning(huey, 1, name="one")

    with pytest.raises(ConfigError, match="aquila_huey"):
        perform_job(one.s())


# Priority


def test_a_priority_that_the_production_storage_refuses_is_refused():
    immediate = RedisHuey("app", immediate=True)
    refusing = [(RedisHuey("app"), False), (immediate, False)]
    for huey, accepted in [*refusing, (PriorityRedisHuey("app"), True), (MemoryHuey("app"), True)]:
        urgent = returning(huey, 1, name="urgent", priority=5)
        for mode in ("manual", "inline"):
            with use_test_queue(huey, mode):
                if accepted:
                    assert perform_job(urgent).value == 1
                else:
                    with pytest.raises(TaskContractBroken, match="RedisStorage knows none"):
                        perform_job(urgent)


def test_a_priority_outside_of_what_the_file_storage_takes_is_refused(tmp_path):
    huey = FileHuey("app", path=str(tmp_path))
    task = returning(huey, 1, name="task")
    assert perform_job(task, priority=5).value == 1
    for priority in (-1, 0x10000):
        with pytest.raises(TaskContractBroken, match="0 to 65535"):
            perform_job(task, priority=priority)


# The result


def test_a_result_that_cannot_be_stored_is_refused(huey):
    @huey.task()
    def lock():
        return threading.Lock()

    with pytest.raises(TaskContractBroken, match=r"result of .*lock cannot be stored"):
        perform_job(lock)


def test_a_result_that_the_following_task_cannot_get_is_refused():
    huey = MemoryHuey("app", results=False)
    job = returning(huey, threading.Lock(), name="job").s().then(failing(huey, name="following"))
    with use_test_queue(huey), pytest.raises(TaskContractBroken, match=r"follows .*job could not be enqueued.*lock"):
        perform_job(job)


def test_only_a_result_that_is_stored_must_be_storable():
    assert perform_job(returning(MemoryHuey(results=False), threading.Lock())).state == "complete"
    for store_none in (False, True):
        huey = MemoryHuey(store_none=store_none)
        with use_test_queue(huey):
            assert perform_job(returning(huey)).stored is None
            assert huey.result_count() == store_none


class Rounding(Serializer):
    """Loses a part of each number."""

    def _serialize(self, data):
        return super()._serialize(round(data) if isinstance(data, float) else data)


@pytest.mark.parametrize(
    ("serializer", "value", "change"),
    [(Serializer, Forgetful(5), "5 and came out as 0"), (Rounding, 2.4, r"float 2\.4 and came out as int 2")],
    ids=["an object that loses its state", "a serializer that changes plain data"],
)
def test_a_result_that_changes_in_the_store_is_refused(serializer, value, change):
    huey = MemoryHuey("app", serializer=serializer())

    @huey.task()
    def forget():
        return value

    with pytest.raises(TaskContractBroken, match=f"changes on its way to the result store.*{change}"):
        perform_job(forget)


# Ends and retries


def test_a_failure_with_retries_left_is_followed_by_one(huey):
    fail = failing(huey, name="fail", retries=2, retry_delay=10, retry_backoff=3)
    run = perform_job(fail, raises=ValueError)
    assert run.signals == ("executing", "error", "retrying", "scheduled")
    assert (run.retry.delay, run.retry.left) == (10, 1)
    assert run.enqueued == ()
    assert huey.scheduled_count() == 1
    run = perform_job(fail, attempt=2, raises=ValueError)
    assert (run.attempt, run.retry.delay, run.retry.left) == (2, 30, 0)
    run = perform_job(fail, attempt=3, raises=ValueError)
    assert (run.attempt, run.retry) == (3, None)


def test_an_attempt_that_never_happens_is_refused(huey):
    fail = failing(huey, name="fail", retries=2)
    for attempt, message in ((4, "attempt 4 never happens"), (0, "from 1, not 0"), ("2", "from 1, not '2'")):
        with pytest.raises(ConfigError, match=message):
            perform_job(fail, attempt=attempt)


def test_performing_the_retry_counts_on(huey):
    fail = failing(huey, name="fail", retries=2)
    first = perform_job(fail, raises=ValueError)
    second = perform_job(huey.pending()[0], raises=ValueError)
    assert (first.attempt, second.attempt) == (1, 2)
    assert first.task.id == second.task.id


def test_retry_task_is_an_outcome(huey):
    @huey.task()
    def later(delay):
        raise RetryTask("not yet", delay=delay)

    run = perform_job(later, 60)
    assert run.state == "retry"
    assert isinstance(run.exception, RetryTask)
    assert run.retry.delay == 60
    assert run.retry.left == 0
    assert run.signals == ("executing", "retrying", "scheduled")


def test_cancelling_is_an_outcome(huey):
    @huey.task(retries=1)
    def cancel(retry):
        raise CancelExecution(retry=retry)

    run = perform_job(cancel, False)
    assert (run.state, run.retry) == ("canceled", None)
    assert perform_job(cancel, True).retry.left == 0


@pytest.mark.parametrize("kind", [AquilaMemoryHuey, MemoryHuey])
def test_an_overridden_execute_gets_a_moment_as_in_a_worker(kind):
    moments = []

    class Noting(kind):
        def execute(self, task, timestamp):
            moments.append(timestamp.isoformat())
            return super().execute(task, timestamp)

    huey = Noting("app")
    with use_test_queue(huey):

        @huey.task()
        def double(number):
            return number * 2

        @huey.periodic_task(lambda moment: True)
        def tick():
            return "tick"

        assert perform_job(double, 3).value == 6
        double(4)
        assert drain_queue().runs[0].value == 8
        assert [run.value for run in run_periodic()] == ["tick"]
        double.schedule((5,), delay=3600)
        drain_queue(with_time_skipping=True)
    with use_test_queue(huey, mode="inline"):
        double(6)
    assert len(moments) == 5
    # Also in time that is skipped.
    assert dt.datetime.fromisoformat(moments[3]) - dt.datetime.fromisoformat(moments[2]) >= dt.timedelta(hours=1)


def test_an_overridden_execute_that_calls_hueys_private_method_executes_the_task():
    class Bare(AquilaMemoryHuey):
        def execute(self, task, timestamp=None):
            return self._execute(task, self._get_timestamp())

    huey = Bare("app")

    @huey.task()
    def double(number):
        return number * 2

    double(1)
    assert huey.execute(huey.dequeue()) == 2
    assert huey._execute(double.s(2), None) == 4
    assert perform_job(double, 3).value == 6


def test_a_hook_that_cancels_is_an_outcome_and_the_task_does_not_run(huey):
    @huey.task()
    def never():
        pytest.fail("ran")

    @huey.pre_execute()
    def stop(task):
        raise CancelExecution

    run = perform_job(never)
    assert run.state == "canceled"
    assert run.hooks == ("stop",)


def test_a_held_lock_is_an_outcome(huey):
    @huey.task(retries=1)
    @huey.lock_task("one at a time")
    def locked():
        return 1

    with huey.lock_task("one at a time"):
        run = perform_job(locked)
        assert (run.state, run.value, run.retry.left) == ("locked", None, 0)
    assert perform_job(locked).value == 1


def test_a_rate_limit_is_an_outcome(huey):
    @huey.task()
    @huey.rate_limit("few", 1, per=3600)
    def limited():
        return 1

    assert perform_job(limited).value == 1
    run = perform_job(limited)
    assert run.state == "rate-limited"
    assert 0 < run.retry.delay <= 3600


def test_a_revoked_and_an_expired_task_do_not_run(huey):
    @huey.task()
    def never():
        pytest.fail("ran")

    revoked = never.s()
    huey.revoke(revoked)
    assert perform_job(revoked).state == "revoked"
    assert perform_job(never, expires=dt.datetime(2020, 1, 1)).state == "expired"


def test_a_scheduled_task_that_is_performed_executes_now(huey):
    later = returning(huey, 1, name="later")
    assert perform_job(later, delay=3600, expires=60).value == 1


def test_a_pipeline_enqueues_what_follows(huey):
    @huey.task()
    def one(n):
        return n + 1

    @huey.task()
    def two(n, plus):
        return n + plus

    run = perform_job(one.s(1).then(two, plus=10))
    assert [task.args for task in run.enqueued] == [(2,)]
    assert perform_job(run.enqueued[0]).value == 12


def test_the_members_of_a_chord_can_be_performed_one_by_one(huey):
    @huey.task()
    def member(n):
        return n

    @huey.task()
    def total(values):
        return sum(values)

    whole = chord([member.s(n) for n in (1, 2)], total)
    with pytest.raises(ConfigError, match=r"a chord is several: enqueue it, then drain_queue\(\)"):
        perform_job(whole)
    huey.enqueue(whole)
    first, second = (perform_job(task) for task in all_enqueued())
    assert first.enqueued == ()
    assert perform_job(second.enqueued[0]).value == 3


def test_an_error_handler_is_enqueued_with_the_exception(huey):
    fail = failing(huey, ValueError("boom"), name="fail")

    @huey.task()
    def handle(error):
        return str(error)

    run = perform_job(fail.s().error(handle), raises=ValueError)
    assert perform_job(run.enqueued[0]).value == "boom"


def test_an_error_handler_that_cannot_be_enqueued_is_refused():
    class Strict(Serializer):
        def _serialize(self, data):
            if isinstance(getattr(data, "args", None), tuple) and any(isinstance(a, Exception) for a in data.args):
                raise TypeError("no exceptions here")
            return super()._serialize(data)

    huey = MemoryHuey(serializer=Strict())
    fail = failing(huey, ValueError("boom"), name="fail", retries=1)

    @huey.task()
    def handle(error):
        return str(error)

    with use_test_queue(huey), pytest.raises(TaskContractBroken, match=r"boom; then its error handler or its retry"):
        perform_job(fail.s().error(handle))


# Time


needs_alarm = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no alarm signal on this platform")


@needs_alarm
def test_a_timeout_holds(huey):
    @huey.task(timeout=0.05)
    def forever():
        threading.Event().wait()

    with pytest.raises(TaskTimeout):
        perform_job(forever)
    run = perform_job(forever, raises=TaskTimeout)
    assert run.state == "timeout"
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


@needs_alarm
def test_a_timeout_that_the_task_swallows_is_refused(huey):
    @huey.task(timeout=60)
    def stubborn():
        try:
            signal.raise_signal(signal.SIGALRM)  # as the alarm does
        except Exception:  # noqa: BLE001
            return "done"

    with pytest.raises(TaskContractBroken, match="caught the TaskTimeout"):
        perform_job(stubborn)


@needs_alarm
def test_an_alarm_that_was_set_before_still_strikes(huey):
    struck = threading.Event()
    quick = returning(huey, 1, name="quick", timeout=60)
    before = signal.signal(signal.SIGALRM, lambda *_: struck.set())
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        perform_job(quick)
        assert struck.wait(60)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@needs_alarm
def test_the_alarm_of_a_timeout_never_meets_the_handler_from_before(huey, monkeypatch):
    left = []
    set_handler = signal.signal

    def set_and_look(number, handler):
        left.append(signal.getitimer(signal.ITIMER_REAL)[0])
        return set_handler(number, handler)

    quick = returning(huey, 1, name="quick", timeout=60)
    monkeypatch.setattr(signal, "signal", set_and_look)
    perform_job(quick)
    assert left == [0, 0]


def test_off_the_main_thread_a_task_with_a_timeout_runs_and_looks_by_itself(huey):
    runs = []

    @huey.task(timeout=0.001, context=True)
    def patient(task=None):
        while True:
            time.sleep(0)
            task.check_timeout()

    thread = threading.Thread(target=lambda: runs.append(perform_job(patient, raises=TaskTimeout)))
    thread.start()
    thread.join()
    assert runs[0].state == "timeout"


# Hooks and receivers


def test_hooks_run_and_are_named(huey):
    seen = []
    huey.pre_execute("before")(lambda task: seen.append("before"))
    huey.post_execute("after")(lambda task, value, error: seen.append((value, error)))
    run = perform_job(returning(huey, 1))
    assert run.hooks == ("before", "after")
    assert seen == ["before", (1, None)]


@pytest.mark.parametrize("where", ["pre_execute", "post_execute", "signal"])
def test_an_exception_in_a_hook_or_receiver_is_raised(huey, where):
    task = returning(huey, 1, name="task")

    @getattr(huey, where)()
    def broken(*args):
        raise ValueError("guard")

    with pytest.raises(TaskContractBroken, match=r"'broken'.* raised ValueError: guard") as caught:
        perform_job(task)
    assert isinstance(caught.value.__cause__, ValueError)


def test_receivers_get_every_signal(huey):
    seen = []

    @huey.signal()
    def every(name, task, error=None):
        seen.append((name, error))

    @huey.signal("error")
    def one(name, task, error=None):
        seen.append(f"only {name}")

    boom = ValueError()

    @huey.task()
    def fail():
        raise boom

    perform_job(fail, raises=ValueError)
    assert seen == [("executing", None), "only error", ("error", boom)]


# Isolation


def test_a_context_variable_does_not_leak_from_the_task(huey):
    variable = contextvars.ContextVar("variable", default="outside")

    @huey.task()
    def leak():
        before = variable.get()
        variable.set("inside")
        return before

    assert perform_job(leak).value == "outside"
    assert perform_job(leak).value == "outside"
    assert variable.get() == "outside"


def test_the_huey_is_as_it_was_afterwards(huey):
    state = dict(vars(huey))
    task = returning(huey, 1, name="task", timeout=60)
    perform_job(task)
    assert dict(vars(huey)) == state


def test_without_a_test_queue_the_real_queue_is_not_touched():
    huey = MemoryHuey()

    @huey.task()
    def spread():
        spread()
        return 1

    spread()
    run = perform_job(spread)
    assert len(run.enqueued) == 1
    assert huey.pending_count() == 1
    assert huey.result_count() == 0


def test_a_huey_whose_server_is_away_can_be_tested():
    huey = RedisHuey("app", host="127.0.0.1", port=1)

    @huey.task(retries=1)
    def task():
        task()
        return 1

    run = perform_job(task)
    assert run.value == 1
    assert len(run.enqueued) == 1


def test_a_task_is_gone_with_its_run_and_waits_for_no_garbage_collector(huey):
    task = returning(huey, 1, name="task")
    run = perform_job(task)
    performed = weakref.ref(run.task)
    gc.disable()
    try:
        del run
        assert performed() is None
    finally:
        gc.enable()


class Case(unittest.TestCase):
    """For unittest, without pytest's fixtures."""

    def setUp(self):
        self.huey = self.enterContext(use_test_queue(MemoryHuey("app")))

    def test_a_task(self):
        @self.huey.task()
        def task():
            task()
            return 1

        assert perform_job(task).value == 1
        assert len(all_enqueued(task)) == 1


def test_a_generator_is_refused_where_it_is_declared_as_a_task():
    def pages():
        yield 1

    async def pages_later():
        yield 1

    huey = AquilaMemoryHuey("app")
    for function in (pages, pages_later, functools.partial(pages)):
        with pytest.raises(ConfigError, match=r"pages.* has `yield` in it.*no worker would execute its code"):
            huey.task(name="pages")(function)


@pytest.mark.parametrize(
    ("setting", "value", "told"),
    [
        (
            "retry_delay",
            lambda tries: 2**tries,
            "retry_delay=<function .* is no finite number.*a factor: retry_backoff=2",
        ),
        ("retries", "3", "retries='3' of the task int is no finite number, which its messages carry$"),
        ("retries", math.inf, "retries=inf of the task int is no finite number"),
    ],
)
def test_a_setting_that_is_no_number_is_refused_where_the_task_is_declared(setting, value, told):
    with pytest.raises(ConfigError, match=told):
        AquilaMemoryHuey("app").task(**{setting: value})(int)
