"""Dummy keys in the environment, as interception shows them."""

from __future__ import annotations

import pytest

from aquila.intercept.activation import Interception
from aquila.intercept.dummy_keys import DummyKeys


def test_the_environment_changes_only_under_the_lock_of_the_interception(monkeypatch: pytest.MonkeyPatch) -> None:
    interception, held = Interception(), []
    monkeypatch.setattr(DummyKeys, "show", lambda *_, **__: held.append(interception._lock._is_owned()))  # type: ignore[attr-defined]
    with interception.dummies_shown({}):
        pass
    assert held
    assert all(held)
