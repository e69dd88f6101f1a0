"""The misses of a scope, which any thread may add to."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from aquila.errors import CassetteMiss, ConversationDrifted
from aquila.recording.reporting.miss_log import MissLog


@pytest.fixture
def threads_that_take_turns_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("threads_that_take_turns_often")
def test_of_misses_of_several_threads_none_is_lost() -> None:
    log = MissLog()

    def miss_often(name: str) -> None:
        for number in range(300):
            log.remember(CassetteMiss(f"{name}{number}"))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(miss_often, "abcd"))
    assert len(log) == 1200


def test_the_drift_of_a_log_goes_with_its_miss() -> None:
    log, drifted = MissLog(), ConversationDrifted("it has drifted")
    drifted.conversation = {"x": ["key"]}
    log.remember(CassetteMiss("another"))
    log.remember(drifted)
    assert log.drift is drifted
    log.forget([drifted])
    assert log.drift is None
    assert [str(miss) for miss in log] == ["another"]


def test_a_miss_is_added_without_going_through_those_before() -> None:
    """A program may swallow tens of thousands."""
    looked_at: list[str] = []

    class Watched(ConversationDrifted):
        def __getattribute__(self, name: str) -> Any:
            if name == "conversation":
                looked_at.append(str(self))
            return super().__getattribute__(name)

    log = MissLog()
    for number in range(9):
        log.remember(Watched(str(number)))
    assert looked_at == list(map(str, range(9)))
    assert log.drift is None
