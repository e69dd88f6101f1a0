"""A task whose result cannot be stored has failed, and says so: nobody waits for it in vain, or pays again."""

import logging

import pytest
from huey.api import chord
from huey.exceptions import TaskException
from huey.serializer import Serializer

from aquila.errors import RemoteTaskError
from aquila.huey import dead_letters
from aquila.huey.live import publish_jobs
from aquila.huey.live.summaries import JOBS_TABLE, decode_summary
from aquila.huey.state import state_of
from tests.huey.live.conftest import settle
from tests.huey.sample_tasks import execute_all, returning


@pytest.fixture(params=[False, True], ids=["plain", "keep_running"])
def huey(request, make):
    return make("sqlite", keep_running=request.param)


def test_whoever_waits_for_a_result_that_cannot_be_stored_is_told(huey):
    publish_jobs(huey, every=0.01)
    executed, handled = [], []

    @huey.task(retries=2)
    def job():
        executed.append(1)
        return object()

    @huey.task()
    def follow(value):
        executed.append(value)

    @huey.task()
    def handle(error):
        handled.append(type(error).__name__)

    first, second = huey.enqueue(job.s().error(handle).then(follow))
    execute_all(huey)
    assert executed == [1]
    for result in (first, second):
        with pytest.raises(TaskException, match="NotSerializable"):
            result.get()
    (letter,) = dead_letters(huey)
    assert (letter.id, letter.kind) == (first.id, "failed")
    assert handled == ["NotSerializable"]
    assert not huey.tasks_in_hand.has_any
    if huey.keep_running:
        huey.tasks_in_hand.kept.look_around()  # Which delivers tasks again whose outcome could not be stored.
    assert huey.pending_count() == 0
    settle(huey)
    assert decode_summary(first.id, state_of(huey).get(JOBS_TABLE, first.id)).state == "failed"


class Unpicklable(Exception):
    def __reduce__(self):
        raise ValueError("holds a connection")


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("keep_running", [False, True])
def test_what_the_serializer_of_a_project_refuses_is_no_reason_to_pay_again(make, keep_running, fails):
    huey = make("sqlite", keep_running=keep_running, serializer=Serializer())  # Pickles, as in an existing project.
    executed = []

    @huey.task(retries=0 if fails else 2)
    def job():
        executed.append(1)
        if fails:
            raise Unpicklable
        return (piece for piece in "text")  # No pickle can hold a generator.

    @huey.task()
    def handle(error):
        """Is never executed with an error that no pickle can hold."""

    result = huey.enqueue(job.s().error(handle) if fails else job.s())
    execute_all(huey)
    if keep_running:
        huey.tasks_in_hand.kept.look_around()
        execute_all(huey)
    assert executed == [1]
    assert not huey.tasks_in_hand.has_any
    with pytest.raises(TaskException, match="Unpicklable" if fails else "cannot pickle 'generator' object"):
        result.get()
    (letter,) = dead_letters(huey)
    assert (letter.id, letter.kind) == (result.id, "failed")


def test_a_caller_gets_what_the_serializer_of_its_project_raises(make):
    huey = make("sqlite", serializer=Serializer())

    @huey.task()
    def job(argument):
        """Is never executed."""

    @huey.task()
    def call_another():
        with pytest.raises(ValueError, match="holds a connection"):
            job(Unpicklable())
        return "refused"

    with pytest.raises(ValueError, match="holds a connection"):
        job(Unpicklable())
    result = call_another()
    execute_all(huey)
    assert result.get() == "refused"


def test_a_task_whose_successor_cannot_be_sent_keeps_its_value(huey):
    job = returning(huey, 1)

    @huey.task()
    def follow(odd, value):
        return value

    following = follow.s("x")
    first, second = huey.enqueue(job.s().then(following))
    task = huey.dequeue()
    task.on_complete.args = (object(),)
    huey.execute(task)
    assert first.get() == 1
    with pytest.raises(TaskException, match="NotSerializable"):
        second.get()


@pytest.fixture
def without_log(caplog):
    caplog.set_level(logging.CRITICAL, "huey")  # Half a sign in a log is nothing that xdist can send.


class Refused(Exception):
    """Arrives at a handler as what stands for an error of a class that is not known there."""


@pytest.mark.usefixtures("without_log")
@pytest.mark.parametrize(("kind", "arrived"), [(ValueError, ValueError), (Refused, RemoteTaskError)])
def test_an_error_whose_text_is_cut_within_a_sign_is_retried_and_told_as_it_is(huey, kind, arrived):
    executed, handled = [], []

    @huey.task(retries=2)
    def job():
        executed.append(1)
        raise kind("cut: \ud83d")

    @huey.task()
    def handle(error):
        handled.append((type(error), str(error)))

    result = huey.enqueue(job.s().error(handle))
    execute_all(huey)
    assert len(executed) == 3
    assert [one for one, _ in handled] == [arrived] * 3
    assert all(text.endswith(r"cut: \ud83d") for _, text in handled)
    with pytest.raises(TaskException, match=rf"{kind.__name__}\('cut: \\ud83d'\)"):
        result.get()
    (letter,) = dead_letters(huey)
    assert letter.reason == rf"{kind.__name__}: cut: \ud83d"
    assert rf"{kind.__name__}: cut: \ud83d" in letter.details


@pytest.mark.parametrize("stores_intermediate_errors", [False, True])
def test_a_retry_that_cannot_be_enqueued_has_failed_and_calls_its_handler_once(huey, stores_intermediate_errors):
    publish_jobs(huey, every=0.01)
    huey.store_intermediate_errors = stores_intermediate_errors
    signals, handled = [], []
    huey.signal("error")(lambda signal, task, error: signals.append(type(error).__name__))

    @huey.task(retries=2)
    def job(items):
        items.append(object())
        raise ValueError("first")

    @huey.task()
    def handle(error):
        handled.append(type(error).__name__)

    result = huey.enqueue(job.s([1]).error(handle))
    execute_all(huey)
    settle(huey)
    assert signals == ["ValueError", "NotSerializable"]
    assert handled == ["ValueError" if stores_intermediate_errors else "NotSerializable"]
    assert decode_summary(result.id, state_of(huey).get(JOBS_TABLE, result.id)).state == "failed"
    (letter,) = dead_letters(huey)
    assert "ValueError: first" in letter.details


def test_a_chord_goes_on_without_a_member_whose_result_cannot_be_stored(huey):
    joined = []

    @huey.task()
    def member(value):
        return value or object()

    @huey.task()
    def join(results):
        joined.append([type(result).__name__ for result in results])

    huey.enqueue(chord([member.s(1), member.s(0)], join.s()))
    execute_all(huey)
    assert joined == [["int", "Error"]]


@pytest.mark.parametrize("last_fails", [False, True])
def test_whoever_waits_for_a_chord_whose_callback_cannot_be_sent_is_told(huey, last_fails):
    publish_jobs(huey, every=0.01)
    handled = []

    @huey.task()
    def member(number):
        if last_fails and number:
            raise ValueError("no")
        return number

    @huey.task()
    def join(results, odd):
        return results

    @huey.task()
    def handle(error):
        handled.append(type(error).__name__)

    result = huey.enqueue(chord([member.s(0), member.s(1)], join.s("x").error(handle).then(member)))
    huey.execute(huey.dequeue())
    last = huey.dequeue()
    last.chord_config.callback.args = (object(),)
    huey.execute(last)
    execute_all(huey)
    settle(huey)
    first, second = result.results
    assert first.get() == 0
    if not last_fails:
        assert second.get() == 1
    for waited_for in result.pipeline_results:
        with pytest.raises(TaskException, match="NotSerializable"):
            waited_for.get()
    assert handled == ["NotSerializable"]
    assert f"{__name__}.join" in [letter.task_name for letter in dead_letters(huey)]
    assert [key for key in huey.all_results() if str(key).startswith("chord:")] == []
    assert huey.storage.incr("chord:" + last.chord_config.cid) == 1
    summary = decode_summary(result.callback.id, state_of(huey).get(JOBS_TABLE, result.callback.id))
    assert summary.state == "failed"
