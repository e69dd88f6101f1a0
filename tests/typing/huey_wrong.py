"""Wrong uses of tasks and of the fixtures for them. A comment names mypy's error on the line."""

from __future__ import annotations

from aquila.huey import MemoryHuey, ask_task, stream_task
from aquila.testing import AssertEnqueued, BuildTask, DrainQueue, PerformJob, RunConsumer, UseTestQueue

huey = MemoryHuey("app")


@huey.task()
def add(a: int, b: int = 0) -> int:
    return a + b


@huey.task(retires=2)  # E: call-overload # E: untyped-decorator
def misspelt(a: int) -> int:
    return a


@stream_task(huey)
def answer(question: str) -> str:
    return question


def check_calls() -> None:
    add("one")  # E: arg-type
    add()  # E: call-arg
    add(1, c=2)  # E: call-arg
    add.call_local(1, 2, 3)  # E: call-arg
    add.s("one")  # E: arg-type
    add.schedule(delay="soon")  # E: arg-type
    text: str = add.call_local(1)  # E: assignment
    number: int = add(1).get()  # E: assignment
    answer(42)  # E: arg-type
    ask_task(huey, 42)  # E: call-overload
    ask_task(huey, "Say {text}")  # E: call-overload
    print(text, number)


def check_tests(
    perform_job: PerformJob,
    build_task: BuildTask,
    assert_enqueued: AssertEnqueued,
    drain_queue: DrainQueue,
    run_consumer: RunConsumer,
    use_test_queue: UseTestQueue,
) -> None:
    perform_job(add, "one")  # E: call-overload
    perform_job(add, 1, c=2)  # E: call-arg
    perform_job(add)  # E: call-overload
    perform_job(add, 1, raises="ValueError")  # E: call-arg
    perform_job(add, 1).value.upper()  # E: attr-defined
    perform_job(len, [])  # E: call-overload
    build_task(add, "one")  # E: call-overload
    assert_enqueued(add, a=1, scheduled_in="soon")  # E: call-overload
    assert_enqueued(add, where=lambda task: task.arguments == ())  # E: attr-defined
    drain_queue(with_safety=True)  # E: call-arg
    run_consumer("threads")  # E: arg-type
    use_test_queue("immediate")  # E: arg-type
