"""Hueys of Aquila on storages that can keep copies of running tasks."""

import pytest

from aquila.huey import PriorityRedisHuey
from aquila.huey.delivery.consumer_heartbeats import ConsumerLife
from tests.huey.storages import CLASSES


@pytest.fixture
def make(make_huey, monkeypatch):
    """Make a Huey of Aquila on one of ``WITH_COPIES``; a worker that waits for a message waits shortly.

    Lost tasks are only looked for where a test does it: the thread of heartbeats might do it between two lines.
    """
    monkeypatch.setattr(ConsumerLife, "_live", lambda life: life._ended.wait())

    def make(kind, **options):
        if kind in ("redis", "priorities", "postgres"):
            options["read_timeout"] = 0.02
        if kind == "priorities":
            return make_huey("redis", {"redis": PriorityRedisHuey}, **options)
        return make_huey(kind, CLASSES, **options)

    return make


@pytest.fixture
def kept(make):
    """A Huey that keeps copies, with a worker in this process."""
    huey = make("sqlite", keep_running=True)
    huey.tasks_in_hand.kept.enter_worker()
    yield huey
    huey.tasks_in_hand.kept.leave_worker()
