"""The misses of a scope, which any thread may add to."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

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
