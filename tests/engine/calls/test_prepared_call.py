"""The cache of SDK clients, and the error of a call whose time is over."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

import aquila
from aquila.engine.calls import prepared_call
from aquila.engine.calls.call_plan import plan_conversation, prepare_call
from aquila.recording.replayed_time_limits import TASK, TimeLimit, time_limit


def test_a_timer_that_ends_a_call_a_little_early_raises_the_error_of_the_task() -> None:
    """As timers do on Windows, by up to 16 ms."""
    over = aquila.errors.RequestTimeout("the task's time is over")
    limit = TimeLimit(TASK, 0.03, lambda: over)
    with time_limit(limit):
        call = prepare_call(plan_conversation("Hi", {"transport": "live", "api_key": "k"}))
    limit.ends = time.monotonic() + 0.03
    assert call.total_timeout_error() is over


class ChangedWhileIterated(OrderedDict[Any, Any]):
    """A cache to which another thread adds a client whenever this one begins to iterate it."""

    def __iter__(self) -> Iterator[Any]:
        begun = super().__iter__()
        self["another thread"] = object()
        return begun


def test_the_oldest_client_can_be_evicted_while_another_thread_adds_one(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = ChangedWhileIterated()
    monkeypatch.setattr(prepared_call, "_clients", cache)
    monkeypatch.setattr(prepared_call.openai_sdk, "OpenAI", SimpleNamespace)
    made = [prepared_call.sync_client(f"http://host/{number}", "key") for number in range(40)]
    assert len(cache) == prepared_call._MOST_CLIENTS
    assert prepared_call.sync_client("http://host/39", "key") is made[39]
    assert prepared_call.sync_client("http://host/0", "key") is not made[0]
