"""Right uses of tasks and of the fixtures for them. Type checkers must accept all of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, assert_type

from aquila import Response
from aquila.huey import AquilaHuey, MemoryHuey, Result, StoredAnswer, Task, ask_task, checkpoint, once, stream_task
from aquila.huey.testing import assert_enqueued as assert_enqueued_function
from aquila.huey.testing import perform_job as perform_job_function
from aquila.testing import (
    AllEnqueued,
    AssertEnqueued,
    BuildTask,
    DrainQueue,
    PerformJob,
    RefuteEnqueued,
    RunConsumer,
    RunPeriodic,
    TaskRun,
    UsedCassette,
    UseTestQueue,
)

huey = MemoryHuey("app")


@huey.task(retries=2, retry_delay=10)
def add(a: int, b: int = 0) -> int:
    return a + b


@huey.task(2, 10)  # By position, as Huey itself takes them.
async def fetch(url: str) -> bytes:
    return url.encode()


@huey.task(context=True)
def name_itself(greeting: str, task: Any = None) -> str:
    return f"{greeting} {task.id}"


def is_full_hour(now: datetime) -> bool:
    return now.minute == 0


@huey.periodic_task(is_full_hour, 2, 10)
def clean_up() -> int:
    return 1


translate = ask_task(huey, "Translate into {language}: {text}", name="translate", temperature=0)


def count_words(response: Response) -> int:
    return len(response.text.split())


length = ask_task(huey, "Say {text}", name="length", result=count_words)


@stream_task(huey, instructions="Answer in one sentence.", time_limit=120)
def answer(question: str, name: str = "Eve") -> str:
    return f"{name} asks: {question}"


def check_calls() -> None:
    assert_type(add(1, b=2), Result[int])
    assert_type(add.call_local(1), int)
    assert_type(add.s(1), Task[int])
    assert_type(add.schedule((1, 2), delay=60), Result[int])
    assert_type(add.schedule((1,), {"b": 2}, delay=timedelta(minutes=1), priority=5), Result[int])
    assert_type(add(1).get(), int | None)
    assert_type(add(1).get(blocking=True, timeout=3), int)
    assert_type(add(1)(), int | None)
    assert_type(add.s(1).then(add, 2).error(clean_up), Task[int])
    assert_type(fetch("https://example.org"), Result[bytes])
    assert_type(name_itself("Hello"), Result[str])
    assert_type(clean_up.call_local(), int)
    assert_type(answer("How high?", name="Adam"), Result[StoredAnswer])
    assert_type(length(text="eagles"), Result[int])
    translate("French", text="Good morning")
    huey.enqueue(add.s(1))


async def check_async() -> None:
    assert_type(await fetch.call_local("https://example.org"), bytes)


def check_perform_job(perform_job: PerformJob, build_task: BuildTask) -> None:
    assert_type(perform_job(add, 1, b=2), TaskRun[int])
    assert_type(perform_job(add, 1).value, int)
    assert_type(perform_job(add, "x", raises=TypeError), TaskRun[int])
    assert_type(perform_job(add, 1, raises=(TypeError, ValueError), attempt=2), TaskRun[int])
    assert_type(perform_job(add, 1, attempt=2).value, int)
    assert_type(perform_job(add, kwargs={"a": 1}, priority=5).value, int)
    assert_type(perform_job(add, args=(1, 2)).value, int)
    assert_type(perform_job(add.s(1)).value, int)
    assert_type(perform_job(build_task(add, 1, attempt=2), raises=ValueError).value, int)
    assert_type(perform_job(fetch, "https://example.org").value, bytes)
    assert_type(perform_job(name_itself, "Hello").value, str)
    assert_type(perform_job(answer, "How high?").value, StoredAnswer)
    assert_type(build_task(add, 1), Task[int])
    assert_type(perform_job_function(add, 1).value, int)


def check_queue(
    all_enqueued: AllEnqueued, assert_enqueued: AssertEnqueued, refute_enqueued: RefuteEnqueued, drain_queue: DrainQueue
) -> None:
    assert_type(all_enqueued(), list[Task[Any]])
    assert_type(all_enqueued(add, 1, nested=True), list[Task[int]])
    assert_type(assert_enqueued(add, a=1, scheduled_in=(60, 5), timeout=1), Task[int])
    assert_type(assert_enqueued_function(add, kwargs={"a": 1}, priority=5), Task[int])
    assert_enqueued(where=lambda task: task.retries > 0)
    refute_enqueued(add, a=2)
    drained = drain_queue(with_scheduled=timedelta(hours=1), raise_errors=False)
    assert_type(drained["complete"], int)
    assert_type(drained.runs, tuple[TaskRun[Any], ...])


def check_workers(
    run_consumer: RunConsumer, run_periodic: RunPeriodic, use_test_queue: UseTestQueue, aquila_tasks: AquilaHuey
) -> None:
    with run_consumer("process", workers=2, raise_errors=False) as consumer:
        assert_type(consumer.wait(add(1)), int)
        assert_type(consumer.wait(add(1), add(2)), list[Any])
    assert_type(run_periodic(datetime(2026, 1, 1), until=datetime(2026, 1, 2)), list[TaskRun[Any]])
    with use_test_queue("inline", storage="own"), use_test_queue(queue="mail"), run_consumer(queue="mail"):
        add(1)
    aquila_tasks.pending_count()


def check_progress(aquila_cassette: UsedCassette) -> None:
    assert_type(once("outline", lambda: "text"), str)
    assert_type(checkpoint("number", 1), int)
    assert_type(aquila_cassette.play_count, int)


callback: Callable[[int], Result[int]] = add
