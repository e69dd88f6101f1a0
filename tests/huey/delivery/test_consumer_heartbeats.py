"""What a consumer shows of itself in the storage."""

import datetime as dt
import threading

import time_machine

from aquila.huey import MemoryHuey, list_consumers
from aquila.huey.delivery.consumer_heartbeats import ConsumerLife
from aquila.huey.state import state_of


def test_each_heartbeat_says_when_the_consumer_began_and_when_it_was_seen_last():
    huey = MemoryHuey("app")
    life = ConsumerLife(state_of(huey), lambda: None)
    begun = dt.datetime.now(dt.UTC)
    with time_machine.travel(begun, tick=False) as clock:
        for _ in range(3):
            life.beat()
            clock.shift(10)
    (shown,) = list_consumers(huey)
    assert (shown.id, shown.started, shown.seen) == (life.id, begun.timestamp(), begun.timestamp() + 20)
    life.end(forget=True)
    assert list_consumers(huey) == []


def test_a_consumer_goes_on_to_send_heartbeats_after_an_outage_and_says_once_that_there_was_one(caplog):
    looks, goes_on = [], threading.Event()

    def look():
        looks.append("look")
        if len(looks) < 3:
            raise ConnectionError("away")
        if len(looks) > 3:  # What is said after the third look is said before this one.
            goes_on.set()

    life = ConsumerLife(state_of(MemoryHuey("app")), look, lost_after=0.06)
    life.ensure_beating()
    assert goes_on.wait(60)
    life.end(forget=True)
    for said in ("the storage does not answer (ConnectionError: away)", "the storage answers again"):
        assert caplog.text.count(f"consumer {life.id}: {said}") == 1


def test_a_consumer_looks_for_others_as_soon_as_it_has_begun():
    """It may not live until its second heartbeat."""
    looked = threading.Event()
    life = ConsumerLife(state_of(MemoryHuey("app")), looked.set, lost_after=6000)
    life.ensure_beating()
    assert looked.wait(60)
    life.end(forget=True)
