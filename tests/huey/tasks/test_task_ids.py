"""Ids of tasks are random UUIDs, made where others want them to be made."""

import uuid

import huey as plain
import pytest
from huey.api import Task

from aquila.huey import MemoryHuey, instrument
from aquila.huey.tasks.task_ids import create_id


@pytest.fixture
def job():
    huey = MemoryHuey("jobs")

    @huey.task()
    def job():
        """Do nothing."""

    return job


def test_ids_are_random_uuids(job):
    ids = {job.s().id for _ in range(100)}
    assert len(ids) == 100
    for text in ids:
        read = uuid.UUID(text)
        assert (str(read), read.version, read.variant) == (text, 4, uuid.RFC_4122)


def test_an_id_that_is_given_is_used(job):
    assert job.s(id="mine").id == "mine"


def test_uuids_that_are_made_another_way_are_used(job, monkeypatch):
    monkeypatch.setattr(uuid, "uuid4", lambda: "the next")
    assert job.s().id == "the next"


def test_ids_that_tasks_make_another_way_are_used(job, monkeypatch):
    monkeypatch.setattr(Task, "create_id", lambda task: "by all tasks")
    assert job.s().id == "by all tasks"


def test_a_class_of_tasks_with_ids_of_its_own_keeps_them():
    class Numbered(Task):
        def create_id(self):
            return "by this class"

    huey = instrument(plain.MemoryHuey("jobs", serializer=MemoryHuey("jobs").serializer))
    numbered = huey.task_wrapper_class(huey, lambda: None, name="numbered", task_base=Numbered)
    assert numbered.s().id == "by this class"
    assert huey.task_wrapper_class(huey, lambda: None, name="other").task_class.create_id is create_id
