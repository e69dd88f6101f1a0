"""The cache of SDK clients, and the error of a call whose time is over."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from aquila.engine.calls import sdk_client


class ChangedWhileIterated(OrderedDict[Any, Any]):
    """A cache to which another thread adds a client whenever this one begins to iterate it."""

    def __iter__(self) -> Iterator[Any]:
        begun = super().__iter__()
        self["another thread"] = object()
        return begun


def test_the_oldest_client_goes_while_another_thread_adds_one(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = ChangedWhileIterated()
    monkeypatch.setattr(sdk_client, "_clients", cache)
    monkeypatch.setattr(sdk_client.openai_sdk, "OpenAI", SimpleNamespace)
    made = [sdk_client.sync_client(f"http://host/{number}", "key") for number in range(40)]
    assert len(cache) == sdk_client._MOST_CLIENTS
    assert sdk_client.sync_client("http://host/39", "key") is made[39]
    assert sdk_client.sync_client("http://host/0", "key") is not made[0]
