"""Wrong uses of tasks and of the fixtures for them. Type checkers must refuse each marked line, and no other."""

from __future__ import annotations

from aquila.huey import MemoryHuey, ask_task, stream_task
from aquila.testing import AssertEnqueued, BuildTask, DrainQueue, PerformJob, RunConsumer, UseTestQueue

huey = MemoryHuey("app")


@huey.task()
def add(a: int, b: int = 0) -> int:
    return a + b


@huey.task(retires=2)  # wrong: no such setting
def misspelt(a: int) -> int:
    return a


@stream_task(huey)
def answer(question: str) -> str:
    return question


def check_calls() -> None:
    add("one")  # wrong: a number
    add()  # wrong: an argument is missing
    add(1, c=2)  # wrong: no such parameter
    add.call_local(1, 2, 3)  # wrong: too many arguments
    add.s("one")  # wrong: a number
    add.schedule(delay="soon")  # wrong: seconds or a timedelta
    text: str = add.call_local(1)  # wrong: it returns a number
    number: int = add(1).get()  # wrong: None while it is not ready
    answer(42)  # wrong: text
    ask_task(huey, 42)  # wrong: a template
    ask_task(huey, "Say {text}")  # wrong: it needs a name
    ask_task(huey, "Say {text}", name="say", retries="many")  # wrong: a number
    ask_task(huey, "Say {text}", name="say", temprature=0)  # wrong: no such option
    stream_task(huey, "Say {text}", name="say", every="second")  # wrong: seconds
    print(text, number)


def check_tests(
    perform_job: PerformJob,
    build_task: BuildTask,
    assert_enqueued: AssertEnqueued,
    drain_queue: DrainQueue,
    run_consumer: RunConsumer,
    use_test_queue: UseTestQueue,
) -> None:
    perform_job(add, "one")  # wrong: a number
    perform_job(add, 1, c=2)  # wrong: no such parameter
    perform_job(add)  # wrong: an argument is missing
    perform_job(add, 1, raises="ValueError")  # wrong: a class
    perform_job(add, 1).value.upper()  # wrong: a number
    perform_job(len, [])  # wrong: no task
    build_task(add, "one")  # wrong: a number
    assert_enqueued(add, a=1, scheduled_in="soon")  # wrong: seconds
    assert_enqueued(add, where=lambda task: task.arguments == ())  # wrong: no such attribute
    drain_queue(with_safety=True)  # wrong: no such option
    run_consumer("threads")  # wrong: thread
    use_test_queue("immediate")  # wrong: manual or inline
