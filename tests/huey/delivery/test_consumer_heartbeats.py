"""What a consumer shows of itself in the storage."""

import datetime as dt

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
