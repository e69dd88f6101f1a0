"""Long answers in jobs: checkpoints, time limits, revoking, and what is stored of an answer."""

import asyncio
import threading
import time

import pytest
import trio
from huey.exceptions import CancelExecution, TaskException, TaskTimeout

import aquila
import tests.support.preloaded  # noqa: F401 -- a time limit that ends an import breaks the module
from aquila.errors import ConfigError, NotSerializable
from aquila.huey import MemoryHuey, afollow, checkpoint, current_task, follow, once, partial_answer
from aquila.huey.progress.task_watch import TaskWatch
from aquila.huey.testing import drain_queue, perform_job, run_consumer, use_test_queue
from tests.support.upstream import cut_off, streaming, upstream


@pytest.fixture
def huey():
    huey = MemoryHuey("app", store_none=True)
    with use_test_queue(huey):
        yield huey


# Checkpoints


def test_a_checkpoint_survives_a_retry_and_is_removed_after_success(huey):
    done = []

    @huey.task(retries=2, retry_delay=5)
    def job():
        for part in ("a", "b", "c"):
            if checkpoint(part) is None:
                done.append(part)
                checkpoint(part, f"{part} done")
                if part == "b" and current_task().attempt == 1:
                    raise ValueError("in the middle")
        return [checkpoint(part) for part in "abc"]

    job()
    drained = drain_queue(with_scheduled=True)
    assert done == ["a", "b", "c"]
    assert drained.runs[-1].value == ["a done", "b done", "c done"]
    assert not [key for key in huey.all_results() if key.startswith("aquila.")]


def test_once_calls_its_function_once(huey):
    calls = []

    @huey.task(retries=1)
    def job():
        value = once("answer", lambda: calls.append(1) or {"n": 42})
        nothing = once("nothing", lambda: calls.append(2))
        if current_task().attempt == 1:
            raise ValueError
        return [value, nothing]

    job()
    assert drain_queue().runs[-1].value == [{"n": 42}, None]
    assert calls == [1, 2]


def test_the_checkpoints_of_a_task_that_failed_for_good_serve_the_same_id_again(huey):
    @huey.task()
    def job(fails):
        before = checkpoint("part", default="nothing")
        checkpoint("part", "kept")
        if fails:
            raise ValueError
        return before

    job(True, id="same")
    drain_queue(raise_errors=False)
    job(False, id="same")
    assert drain_queue().runs[0].value == "kept"


def test_tasks_do_not_see_the_checkpoints_of_others(huey):
    @huey.task()
    def job(n):
        found = checkpoint("part")
        checkpoint("part", n)
        if n == 1:
            child(2)
        return found

    @huey.task()
    def child(n):
        return checkpoint("part")

    job(1)
    assert [run.value for run in drain_queue().runs] == [None, None]


def test_a_checkpoint_that_cannot_be_stored_fails_at_once_and_nothing_of_it_stays(huey):
    @huey.task()
    def job():
        with pytest.raises(NotSerializable):
            checkpoint("part", {1, 2})
        return checkpoint("part")

    assert perform_job(job).value is None


def test_outside_of_a_task_there_are_no_checkpoints():
    with pytest.raises(ConfigError, match="no task is executing"):
        checkpoint("part", 1)
    with pytest.raises(ConfigError, match="call_local"):
        list(follow(None))


# What a task knows of itself


def test_a_task_knows_its_attempt_and_what_is_left(huey):
    seen = []

    @huey.task(retries=2)
    def job():
        current = current_task()
        seen.append((current.id, current.name, current.attempt, current.retries_left))
        if current.attempt < 3:
            raise ValueError

    job(id="me")
    drain_queue()
    assert seen == [("me", f"{__name__}.job", attempt, 3 - attempt) for attempt in (1, 2, 3)]


# Streams


@pytest.fixture
def stream_job(huey, held):
    @huey.task(context=True)
    def job(task=None):
        with aquila.stream("p", transport=held.transport(), timeout=60, max_retries=0) as stream:
            for _ in follow(stream, every=0.02):
                pass
        return stream.response.text

    return job


@pytest.mark.parametrize("name", ["stream_job", "async_job"])
def test_the_text_so_far_is_stored_and_removed_after_success(huey, held, name, request):
    with run_consumer() as consumer:
        result = request.getfixturevalue(name)()
        consumer.wait_for(lambda: partial_answer(huey, result) == "one two three ")
        held.go.set()
        assert consumer.wait(result) == "one two three four five"
        consumer.wait_for(lambda: partial_answer(huey, result) is None)


def test_a_stream_that_breaks_leaves_what_there_was(huey):
    with upstream(lambda path, body: cut_off("one two three", after=2)) as server:

        @huey.task()
        def job():
            with aquila.stream("p", transport=server.transport(), max_retries=0) as stream:
                list(follow(stream))

        run = perform_job(job, raises=aquila.errors.StreamBroken)
    assert partial_answer(huey, run.task) == "one two "


@pytest.mark.parametrize("is_async", [False, True])
def test_leaving_the_loop_stores_what_there_was(huey, is_async):
    transport = streaming("one two three")

    @huey.task()
    def job():
        with aquila.stream("p", transport=transport) as stream:
            for event in follow(stream):
                if isinstance(event, aquila.Chunk) and event.text == "two ":
                    break
        raise ValueError("enough")

    @huey.task()
    async def async_job():
        async with aquila.astream("p", transport=transport) as stream:
            async for event in afollow(stream, every=60):
                if isinstance(event, aquila.Chunk) and event.text == "two ":
                    break
        raise ValueError("enough")

    run = perform_job(async_job if is_async else job, raises=ValueError)
    assert partial_answer(huey, run.task) == "one two "
    assert run.exception.__context__ is None  # The traceback shows the task's own error alone.


def test_the_task_timeout_of_perform_job_and_of_a_stream_are_the_same(huey, held):
    @huey.task(timeout=0.1)
    def job():
        with aquila.stream("p", transport=held.transport(), timeout=60, max_retries=0) as stream:
            list(follow(stream))

    assert perform_job(job, raises=TaskTimeout).state == "timeout"


@pytest.mark.parametrize("is_async", [False, True])
def test_a_time_limit_ends_the_loop_of_a_slow_reader_although_more_events_are_there(huey, is_async):
    transport = streaming("one two three")
    seen = []

    def read_slowly(event, task):
        seen.append(event)
        task._deadline = time.monotonic() - 1  # of Huey, as if reading this event had taken all the time

    @huey.task(timeout=1000, context=True)
    def job(task):
        with aquila.stream("p", transport=transport) as stream:
            for event in follow(stream, every=60):
                read_slowly(event, task)

    @huey.task(timeout=1000, context=True)
    async def async_job(task):
        async with aquila.astream("p", transport=transport) as stream:
            async for event in afollow(stream, every=60):
                read_slowly(event, task)

    assert perform_job(async_job if is_async else job, raises=TaskTimeout).state == "timeout"
    assert len(seen) == 1


# Async tasks


@pytest.fixture
def async_job(huey, held):
    @huey.task()
    async def job():
        async with aquila.astream("p", transport=held.transport(), timeout=60, max_retries=0) as stream:
            async for _ in afollow(stream, every=0.02):
                pass
        return stream.response.text

    return job


def test_revoking_ends_the_stream_of_an_async_task_that_is_waiting_for_the_provider(huey, held, async_job):
    signals = []
    huey.signal()(lambda name, task, error=None: signals.append(name))
    with run_consumer() as consumer:
        result = async_job()
        consumer.wait_for(lambda: partial_answer(huey, result.id) == "one two three ")
        result.revoke()
        consumer.wait_for(lambda: "canceled" in signals)
    assert partial_answer(huey, result) == "one two three "


def test_a_time_limit_ends_the_stream_of_an_async_task(huey, held):
    @huey.task(timeout=0.1)
    async def job():
        async with aquila.astream("p", transport=held.transport(), timeout=60, max_retries=0) as stream:
            async for _ in afollow(stream, every=60):
                pass

    with run_consumer(raise_errors=False) as consumer:
        result = job()
        with pytest.raises(TaskException, match="TaskTimeout"):
            result.get(blocking=True, timeout=60)
        consumer.wait_for(lambda: huey.pending_count() == 0)


def test_revoking_ends_a_stream_whose_reader_is_busy_with_an_event(huey, held):
    seen = []

    @huey.task()
    async def job():
        async with aquila.astream("p", transport=held.transport(), timeout=60, max_retries=0) as stream:
            async for event in afollow(stream, every=0.01):
                if isinstance(event, aquila.Chunk):
                    huey.revoke(current_task().task)
                    while not stream._state.closed:
                        await asyncio.sleep(0.001)
                    seen.append(event.text)

    assert perform_job(job, raises=CancelExecution).state == "canceled"
    assert seen == ["one "]


def test_no_reader_learns_why_its_stream_ends_before_it_has_ended(huey):
    """It would close the answer itself, and a recording would say that it had left by itself."""
    ended, seen = [], []

    def read_on():
        try:
            watch.raise_if_ended()
        except CancelExecution:
            seen.extend(ended)

    reader = threading.Thread(target=read_on)

    def end_stream():
        reader.start()
        reader.join(0.2)  # It is to wait for this.
        ended.append("ended")

    @huey.task()
    def job():
        nonlocal watch
        huey.revoke(current_task().task)
        watch = TaskWatch(current_task(), 60.0, store=lambda: None, end_stream=end_stream)
        watch._ask_once()

    watch = None
    perform_job(job)
    reader.join()
    assert seen == ["ended"]


def test_outside_of_an_event_loop_of_asyncio_afollow_says_what_it_needs(huey):
    @huey.task()
    def job():
        stream = aquila.astream("p")
        with pytest.raises(ConfigError, match="needs asyncio"):
            trio.run(afollow(stream).__anext__)

    perform_job(job)
