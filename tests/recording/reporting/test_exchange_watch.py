"""Each exchange that a run notes reaches its report once."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from aquila.recording.reporting.exchange_watch import ExchangeWatch, WatchedExchange


class _EndsWhenAsked(SimpleNamespace):
    """Stands for a scope of another thread, which ends between two questions."""

    kind = "test"
    asked = 0

    @property
    def closed(self) -> bool:
        self.asked += 1
        return self.asked > 1


def test_an_exchange_of_a_scope_that_is_just_ending_is_not_lost() -> None:
    told: list[WatchedExchange] = []

    def take_in(several: Sequence[WatchedExchange], *_: Any) -> None:
        told.extend(several)

    watch = ExchangeWatch(take_in, lambda job: None)
    scope: Any = _EndsWhenAsked()
    exchange = watch.begin(scope, None)
    watch.end_test()
    watch.end_test()
    assert told == [exchange]
