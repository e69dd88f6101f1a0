"""Messages in the queue of a Huey that publishes which can neither be read nor buried."""

from datetime import datetime, timedelta

import pytest

from aquila.huey.state import state_of
from tests.huey.storages import Away, be_away


def test_due_tasks_are_not_lost_with_a_message_that_cannot_be_buried(published, monkeypatch):
    huey = published()
    job = huey.task()(lambda number: number)
    past = datetime.now() - timedelta(seconds=60)
    huey.add_schedule(job.s(1, eta=past))
    huey.storage.add_to_schedule(b"?", past)
    huey.add_schedule(job.s(2, eta=past))
    monkeypatch.setattr(type(state_of(huey)), "entries", be_away)
    assert sorted(task.args for task in huey.read_schedule()) == [(1,), (2,)]
    assert huey.storage.enqueued_items() == [b"?"]


def test_a_message_that_can_neither_be_buried_nor_enqueued_is_told(published, monkeypatch, caplog):
    huey = published()
    huey.storage.enqueue(b"?")
    monkeypatch.setattr(type(state_of(huey)), "entries", be_away)
    monkeypatch.setattr(huey.storage, "enqueue", be_away)
    with pytest.raises(Away):
        huey.dequeue()
    assert f"a message in the queue '{huey.name}' can neither be read" in caplog.text
