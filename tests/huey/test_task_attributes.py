"""What Aquila notes on a task stays apart from what the class of the task answers for unknown names."""

import huey as plain
import pytest
from huey.api import Task

from aquila.huey import MemoryHuey, instrument
from aquila.huey.testing import drain_queue, use_test_queue


class Answering(Task):
    """Answers for every name that it does not know."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return self.answer_for(name)

    def answer_for(self, name):
        return None


def declare(huey, base=Answering, **options):
    @huey.task(task_base=base, context=True, **options)
    def job(number, task=None):
        if task.retries:
            raise ValueError(number)
        return (number, task.something_else)

    return job


def test_a_class_of_tasks_may_answer_for_every_name():
    huey = MemoryHuey("jobs")
    job = declare(huey)
    result = job(1)
    huey.execute(huey.dequeue())
    assert result() == (1, None)


def test_it_may_answer_anything_and_the_task_may_be_retried():
    class AnsweringMore(Answering):
        def answer_for(self, name):
            return f"no {name}"

    huey = MemoryHuey("jobs")
    job = declare(huey, AnsweringMore, retries=1)
    with use_test_queue(huey):
        job(1)
        failed, passed = drain_queue().runs
    assert (failed.attempt, failed.retry is None) == (1, False)
    assert (passed.attempt, passed.value) == (2, (1, "no something_else"))


@pytest.mark.parametrize("under_test", [True, False])
def test_it_may_have_been_declared_before_its_huey_is_instrumented(under_test):
    huey = plain.MemoryHuey("jobs", serializer=MemoryHuey("jobs").serializer)
    job = declare(huey)
    if under_test:
        with use_test_queue(huey):
            job(1)
            assert drain_queue().runs[0].value == (1, None)
    else:
        instrument(huey)
        result = job(1)
        huey.execute(huey.dequeue())
        assert result() == (1, None)


def test_a_task_class_that_is_registered_by_hand_keeps_its_own_answers():
    class Own(Answering):
        def __getattr__(self, name):
            return "mine" if name == "something" else super().__getattr__(name)

        def execute(self):
            return self.something

    huey = plain.MemoryHuey("jobs", serializer=MemoryHuey("jobs").serializer)
    huey._registry.register(Own)
    instrument(huey)
    result = huey.enqueue(Own())
    huey.execute(huey.dequeue())
    assert result() == "mine"
    assert not hasattr(Own(), "_aquila_scope")
