"""Jobs of which there is one at a time."""

import datetime
import threading

import pytest
from huey.api import chord, group
from huey.exceptions import CancelExecution, TaskException
from hypothesis import given
from hypothesis import strategies as st

from aquila import errors
from aquila.huey import (
    MemoryHuey,
    Unique,
    ask_task,
    dead_letters,
    is_conflict,
    requeue_lost_tasks,
)
from aquila.huey.delivery.choosing_copies import copies_of
from aquila.huey.delivery.consumer_heartbeats import CONSUMERS
from aquila.huey.limits import unique_jobs
from aquila.huey.limits.unique_jobs import TABLE, Claim
from aquila.huey.limits.unique_settings import canonical_value
from aquila.huey.state import state_of
from aquila.huey.testing import drain_queue, perform_job
from tests.huey.programs import racing
from tests.huey.storages import SHARED, STORAGES, Away, be_away
from tests.support.threads import run_at_once


def stages(huey):
    claims = [Claim.read(entry.value) for entry in state_of(huey).entries(TABLE)]
    return [claim.stage for claim in claims if claim.stage != "over"]


def declare(huey, function=None, **settings):
    def summarise(document, style="short"):
        return (function or (lambda: "done"))()

    return huey.task(**{"unique": True, **settings})(summarise)


def test_a_second_identical_job_is_kept_out_while_one_is_queued_or_runs(huey):
    seen = []

    def enqueue_again():
        if not seen:
            again = summarise(1)
            seen.append((again.id, is_conflict(again), stages(huey)))
        return "done"

    summarise = declare(huey, enqueue_again)
    first, second, other = summarise(1), summarise(1, style="short"), summarise(2)
    assert not is_conflict(first)
    assert is_conflict(second)
    assert second.id == first.id
    assert not is_conflict(other)
    assert huey.pending_count() == 2
    drained = drain_queue()
    assert drained == {"complete": 2}
    assert seen[0] == (first.id, True, ["running", "queued"])
    assert second.get() == "done"  # that of the first
    assert stages(huey) == []
    assert not is_conflict(summarise(1))


def test_the_arguments_that_count_can_be_chosen(huey):
    summarise = declare(huey, unique="document")
    assert [is_conflict(summarise(1, style)) for style in ("short", "long")] == [False, True]
    other = ask_task(huey, "{a} {b}", name="other", unique=Unique(by=("b",), within=60))
    assert [is_conflict(other(*pair)) for pair in ((1, 1), (2, 1), (1, 2))] == [False, True, False]
    both = ask_task(huey, "{a} {b}", name="both", unique=["a", "b"])
    assert [is_conflict(both(*pair)) for pair in ((1, 1), (2, 1), (1, 1))] == [False, False, True]


@pytest.mark.parametrize(
    ("unique", "said"),
    [
        ("documnt", "summarise has no parameter 'documnt'.*document"),
        (7, "unique= is True, names of parameters, or a Unique, not 7"),
        ([7], "names parameters of the task"),
    ],
)
def test_a_mistake_is_named_where_it_is_written(huey, unique, said):
    with pytest.raises(errors.ConfigError, match=said):
        declare(huey, unique=unique)
    with pytest.raises(errors.ConfigError, match="within"):
        Unique(within=-1)
    with pytest.raises(errors.ConfigError, match="names parameters of the task, not 7"):
        Unique(by=7)


def test_arguments_that_cannot_be_compared_or_do_not_fit_are_refused(huey):
    summarise = declare(huey)
    with pytest.raises(errors.TaskContractBroken, match=r"a object cannot be compared. Name the arguments that count"):
        summarise(object())
    with pytest.raises(errors.TaskContractBroken, match="these do not fit: missing a required argument"):
        summarise()
    assert stages(huey) == []


def test_a_plain_huey_is_refused():
    import huey as plain

    with pytest.raises(errors.ConfigError, match="unique has no effect with"):
        ask_task(plain.MemoryHuey("plain"), "{x}", name="x", unique=True)


@pytest.mark.parametrize("ending", ["fails", "cancels", "revoked", "expired", "retried", "later", "pre-execute"])
def test_a_claim_ends_when_its_job_ends(huey, ending):
    tries = []

    def work():
        tries.append(stages(huey))
        if ending == "cancels":
            raise CancelExecution(retry=False)
        if ending == "fails" or (ending == "retried" and len(tries) == 1):
            raise ValueError("no")
        return "done"

    summarise = declare(huey, work, retries=1 if ending == "retried" else 0, retry_delay=60)
    if ending == "pre-execute":

        @huey.pre_execute()
        def cancel(task):
            raise CancelExecution

    if ending == "later":
        result = summarise.schedule((1,), delay=60)
    else:
        result = huey.enqueue(summarise.s(1, **({"expires": -1} if ending == "expired" else {})))
    if ending == "revoked":
        result.revoke()  # In the queue it keeps nobody out any more.
        assert not is_conflict(summarise(1))
    else:
        assert is_conflict(summarise(1))
    if ending in ("later", "retried"):
        drain_queue()
        assert stages(huey) == ["queued"]
        assert is_conflict(summarise(1))
    drain_queue(with_scheduled=True, raise_errors=False)
    assert stages(huey) == []
    assert all(stage == ["running"] for stage in tries[:1])
    assert not is_conflict(summarise(1))


def test_a_claim_does_not_last_longer_than_it_may(huey, monkeypatch):
    summarise = declare(huey, unique=Unique(within=50))
    first = summarise(1)
    now = state_of(huey).now()
    monkeypatch.setattr(state_of(huey), "now", lambda: now + 49)
    assert is_conflict(summarise(1))
    monkeypatch.setattr(state_of(huey), "now", lambda: now + 51)
    second = summarise(1)
    assert second.id != first.id
    assert drain_queue() == {"complete": 2}  # what was let in is executed
    assert stages(huey) == []


def test_the_claim_of_a_killed_worker_ends_unless_the_job_comes_back(huey, monkeypatch):
    summarise = declare(huey)
    first = summarise(1)
    task = huey.dequeue()
    killed = unique_jobs.begin_execution(huey, task)
    assert is_conflict(summarise(1))
    now = state_of(huey).now()
    monkeypatch.setattr(state_of(huey), "now", lambda: now + 61)
    assert summarise(1).id != first.id
    killed.end()  # ends its thread, and takes nothing from the other
    assert stages(huey) == ["queued"]


@pytest.mark.parametrize("lost", [None, "begin", "renewal"])
def test_a_long_execution_renews_its_claim_also_when_an_answer_is_lost(huey, monkeypatch, lost):
    monkeypatch.setattr(unique_jobs, "LEASE", 0.3)
    summarise = declare(huey)
    summarise(1)
    task = huey.dequeue()
    state, renewed, moments = state_of(huey), threading.Event(), []
    replace = state.replace

    def noting(table, key, old, new, **options):
        moments.append(Claim.read(new).until)
        if len(moments) > 3:
            renewed.set()
        stored = replace(table, key, old, new, **options)
        if len(moments) == {"begin": 1, "renewal": 2}.get(lost):
            raise ConnectionError("broke before the answer came")
        return stored

    monkeypatch.setattr(state, "replace", noting)
    execution = unique_jobs.begin_execution(huey, task)
    assert renewed.wait(60)
    execution.end()
    assert moments[:4] == sorted(moments[:4])


def test_a_worker_says_that_another_job_has_its_claim(huey, monkeypatch, caplog):
    monkeypatch.setattr(unique_jobs, "LEASE", 0.3)
    declare(huey)(1)
    task = huey.dequeue()
    execution = unique_jobs.begin_execution(huey, task)
    (entry,) = state_of(huey).entries(TABLE)
    other = Claim("other", "running", state_of(huey).now() + 60)
    state_of(huey).put(TABLE, entry.key, other.write(), order=other.until)
    for thread in threading.enumerate():
        if thread.name == "aquila-unique":
            thread.join(60)
    execution.end()
    assert f"the claim of job {task.id} is lost" in caplog.text
    assert stages(huey) == ["running"]


def test_a_job_that_is_kept_out_leaves_nothing_where_no_results_are_stored(make_aquila_huey):
    huey = make_aquila_huey("sqlite", results=False)
    summarise = declare(huey)
    other = huey.task(name="other")(lambda value: value)
    summarise(1)
    assert huey.enqueue(summarise.s(1).then(other)) is None
    assert huey.result_count() == 0


@pytest.mark.parametrize("kind", SHARED)
def test_with_keep_running_a_lost_job_keeps_its_claim_until_it_is_given_up(make_aquila_huey, kind, monkeypatch):
    huey = make_aquila_huey(kind, keep_running=True)
    summarise = declare(huey)
    first = summarise(1)
    for _ in range(3):
        execution = take_and_die(huey)
        now = state_of(huey).now()
        with monkeypatch.context() as later:
            later.setattr(state_of(huey), "now", lambda now=now: now + 600)
            assert summarise(1).id == first.id  # its worker has not been heard of, and its copy is there
        requeue_lost_tasks(huey)
        execution.end()
        assert stages(huey) == ["queued"]
    huey.execute(huey.dequeue())  # It ends the job, without executing it.
    assert stages(huey) == []
    assert not is_conflict(summarise(1))


def test_with_keep_running_the_claim_of_a_lost_job_stays_though_another_job_ends(make_aquila_huey, monkeypatch):
    huey = make_aquila_huey("sqlite", keep_running=True, lost_after=3600)
    summarise = declare(huey)
    first = summarise(1)
    take_and_die(huey).end()
    now = state_of(huey).now()
    monkeypatch.setattr(state_of(huey), "now", lambda: now + 1800)
    summarise(2)
    huey.execute(huey.dequeue())
    assert summarise(1).id == first.id
    huey.execute(huey.deserialize_task(copies_of(huey).list_copies("dead")[0].data))
    assert stages(huey) == []


def test_with_keep_running_a_worker_that_is_killed_when_it_has_stored_the_result_keeps_nobody_out(
    make_aquila_huey, monkeypatch
):
    huey = make_aquila_huey("sqlite", keep_running=True)
    summarise = declare(huey)
    first = summarise(1)
    take_and_die(huey).end()
    (copy,) = copies_of(huey).list_copies("dead")
    copies_of(huey).move_to_results(copy, first.id, huey.serializer.serialize("done"))
    now = state_of(huey).now()
    monkeypatch.setattr(state_of(huey), "now", lambda: now + 61)
    assert not is_conflict(summarise(1))


@pytest.mark.parametrize("step", ["enqueuing", "running"])
def test_the_claim_of_a_killed_worker_lasts_no_longer_if_the_clock_is_put_back(make_aquila_huey, monkeypatch, step):
    huey = make_aquila_huey("sqlite")
    summarise = declare(huey)
    first = summarise(1)
    unique_jobs.begin_execution(huey, huey.dequeue())._ended.set()
    if step == "enqueuing":
        (entry,) = state_of(huey).entries(TABLE)
        claim = Claim(first.id, "enqueuing", entry.order - unique_jobs.LEASE + unique_jobs.ENQUEUING)
        state_of(huey).put(TABLE, entry.key, claim.write(), order=claim.until)
    assert is_conflict(summarise(1))
    now = state_of(huey).now()
    monkeypatch.setattr(state_of(huey), "now", lambda: now - 86_400)
    second = summarise(1)
    assert not is_conflict(second)
    assert is_conflict(summarise(1))  # It is queued, and that is believed.


def take_and_die(huey):
    """Take a task and begin it, as a consumer does that has shown no heartbeat since."""
    state = state_of(huey)
    state.put(CONSUMERS, "dead", b"{}", order=state.now() - 60)
    copy = copies_of(huey).take("dead", ())
    task = huey.deserialize_task(copy.data)
    task._aquila_copy = copy
    execution = unique_jobs.begin_execution(huey, task)
    assert stages(huey) == ["running"]
    return execution


@pytest.mark.parametrize("keeps", [False, True])
def test_a_job_that_is_handed_back_keeps_others_out(make_aquila_huey, keeps):
    huey = make_aquila_huey("sqlite", keep_running=keeps)
    summarise = declare(huey)
    first = summarise(1)
    execution = unique_jobs.begin_execution(huey, huey.dequeue())
    huey.notify_interrupted_tasks()  # as at SIGTERM
    execution.end()
    assert stages(huey) == ["queued"]
    assert summarise(1).id == first.id
    assert huey.pending_count() == 1


def test_a_job_whose_task_no_worker_knows_keeps_nobody_out(make_aquila_huey):
    huey = make_aquila_huey("sqlite")
    summarise = declare(huey)
    first, other = summarise(1), summarise(2)
    known = huey._registry._registry.copy()
    huey._registry._registry.clear()  # as in a consumer that does not import the tasks
    assert huey.dequeue() is None
    huey._registry._registry.update(known)
    assert {letter.task_id for letter in dead_letters(huey)} == {first.id, other.id}
    again = summarise(1)
    assert not is_conflict(again)
    with pytest.raises(errors.TaskError, match=f"an identical job, {again.id}, is queued or runs"):
        dead_letters(huey).retry(first.id)
    dead_letters(huey).retry(other.id)
    assert is_conflict(summarise(2))


def test_a_dead_letter_is_not_retried_beside_an_identical_job(make_aquila_huey):
    huey = make_aquila_huey("sqlite")

    def fail():
        raise ValueError("no")

    summarise = declare(huey, fail)
    summarise(1)
    huey.execute(huey.dequeue())
    (letter,) = dead_letters(huey)
    second = summarise(1)
    with pytest.raises(errors.TaskError, match=f"an identical job, {second.id}, is queued or runs"):
        dead_letters(huey).retry(letter.id)
    huey.execute(huey.dequeue())
    letters = [each.id for each in dead_letters(huey) if each.id != letter.id]
    dead_letters(huey).retry(letters[0])
    assert stages(huey) == ["queued"]
    assert is_conflict(summarise(1))


def test_a_dead_letter_that_could_not_be_retried_keeps_nobody_out(huey, monkeypatch):
    summarise = declare(huey, be_away)
    summarise(1)
    huey.execute(huey.dequeue())
    (letter,) = dead_letters(huey)
    with monkeypatch.context() as patched:
        patched.setattr(huey.storage, "enqueue", be_away)
        with pytest.raises(Away):
            dead_letters(huey).retry(letter.id)
    assert not is_conflict(summarise(1))


@pytest.mark.parametrize("place", ["head", "follower", "chord"])
def test_in_a_pipeline_or_a_chord_who_is_kept_out_counts_as_failed(huey, place):
    summarise = declare(huey)

    @huey.task()
    def other(*values):
        return 1

    gathered = []

    @huey.task()
    def gather(values):
        gathered.append([type(value).__name__ for value in values])

    first = summarise.schedule((1,), delay=60)
    if place == "head":
        result = huey.enqueue(summarise.s(1).then(other))
        assert is_conflict(result)
        waiting = list(result)
    elif place == "follower":
        waiting = list(huey.enqueue(other.s().then(summarise)))[1:]
    else:
        result = huey.enqueue(chord([summarise.s(1), other.s()], gather.s()))
        waiting = list(result.results)[:1]
    drain_queue()
    for each in waiting:
        with pytest.raises(TaskException, match=f"an identical job, {first.id}, is queued or runs"):
            each.get()
    if place == "chord":
        assert gathered == [["Error", "int"]]


def test_members_of_a_group_are_let_in_once(huey):
    summarise = declare(huey)
    results = huey.enqueue(group([summarise.s(number) for number in (1, 1, 2)]))
    assert [is_conflict(each) for each in results] == [False, True, False]
    assert drain_queue() == {"complete": 2}


def test_an_empty_queue_has_no_claims(huey):
    summarise = declare(huey)
    summarise(1)
    huey.flush()
    assert not is_conflict(summarise(1))


def test_a_job_that_could_not_be_enqueued_holds_nothing(huey, monkeypatch):
    summarise = declare(huey)

    with monkeypatch.context() as patched:
        patched.setattr(huey.storage, "enqueue", be_away)
        with pytest.raises(Away):
            summarise(1)
    assert not is_conflict(summarise(1))


def test_a_job_that_was_enqueued_is_returned_although_its_claim_could_not_be_kept_up(huey, monkeypatch, caplog):
    summarise = declare(huey)

    monkeypatch.setattr(type(state_of(huey)), "replace", be_away)
    result = summarise(1)
    assert [task.id for task in huey.pending()] == [result.id]
    assert f"the claim of job {result.id}" in caplog.text


def test_a_scheduler_enqueues_a_periodic_task_once_while_one_is_queued(huey):
    @huey.periodic_task(lambda moment: True, unique=True)
    def tidy():
        return None

    for minute in range(3):
        for task in huey.read_periodic(datetime.datetime(2026, 11, 26, 12, minute)):
            huey.enqueue(task)
    assert huey.pending_count() == 1
    assert drain_queue() == {"complete": 1}
    for task in huey.read_periodic(datetime.datetime(2026, 11, 26, 12, 3)):
        huey.enqueue(task)
    assert huey.pending_count() == 1


def test_a_unique_task_runs_each_time_in_immediate_mode_and_in_perform_job(huey):
    now = MemoryHuey("now", immediate=True)
    summarise = declare(now)
    assert [summarise(1).get(), summarise(1).get()] == ["done", "done"]
    assert perform_job(declare(huey), 1).value == "done"
    assert stages(huey) == []


@pytest.mark.parametrize("kind", STORAGES)
def test_of_threads_that_race_one_is_let_in(make_aquila_huey, kind):
    huey = make_aquila_huey(kind)
    summarise = declare(huey)
    results, start = [], threading.Barrier(5)

    def race():
        start.wait()
        results.extend(summarise(number) for number in range(4))

    run_at_once([race] * 5)
    assert sum(not is_conflict(each) for each in results) == 4
    assert len({each.id for each in results}) == 4
    assert huey.pending_count() == 4


RACER = """
import sys
from aquila.huey import RedisHuey, is_conflict
huey = RedisHuey("raced", url={url!r})
@huey.task(unique=True, name="summarise")
def summarise(document):
    pass
print("ready", flush=True)
sys.stdin.readline()
print(sum(not is_conflict(summarise(number)) for number in range(40)), flush=True)
"""


@pytest.mark.slow
def test_of_processes_that_race_one_is_let_in(redis_url):
    with racing(3, "-c", RACER.format(url=redis_url)) as racers:
        assert sum(int(racer.stdout.readline()) for racer in racers) == 40


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary() | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(values, values)
def test_equal_arguments_and_only_those_are_the_same(one, other):
    assert canonical_value(one) == canonical_value(one)
    if canonical_value(one) == canonical_value(other):
        assert one == other


def test_the_order_of_a_mapping_does_not_count_and_kinds_do():
    assert canonical_value({"a": 1, "b": 2}) == canonical_value({"b": 2, "a": 1})
    assert canonical_value({1, 2, 3}) == canonical_value({3, 2, 1})
    assert canonical_value((1, 2)) == canonical_value([1, 2])
    assert canonical_value(1) != canonical_value(1.0) != canonical_value(True) != canonical_value("1")
    assert canonical_value(datetime.datetime(2026, 1, 1)) != canonical_value(datetime.date(2026, 1, 1))
