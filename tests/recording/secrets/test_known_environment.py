"""A change of the environment is noticed."""

from __future__ import annotations

import pytest

from aquila.recording.known_environment import KnownEnvironment


def test_the_environment_is_the_same_until_a_variable_is_set_changed_or_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDINARY", "one")
    known = KnownEnvironment()
    assert known.is_current()
    with monkeypatch.context() as patch:
        patch.setenv("ORDINARY", "two")
        assert not known.is_current()
    assert known.is_current()
    with monkeypatch.context() as patch:
        patch.delenv("ORDINARY")
        assert not known.is_current()
    with monkeypatch.context() as patch:
        patch.setenv("ANOTHER", "one")
        assert not known.is_current()
    assert known.is_current()


def test_a_variable_that_every_test_changes_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AQUILA_QUEUES", raising=False)
    known = KnownEnvironment()
    for change in (
        lambda: monkeypatch.setenv("AQUILA_QUEUES", "some"),
        lambda: monkeypatch.setenv("AQUILA_QUEUES", "others"),
        lambda: monkeypatch.delenv("AQUILA_QUEUES"),
    ):
        change()
        assert known.is_current()


def test_a_mapping_that_replaces_the_environment_is_compared_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("os.environ", {"ORDINARY": "one", "AQUILA_QUEUES": "some"})
    known = KnownEnvironment()
    monkeypatch.setattr("os.environ", {"ORDINARY": "one"})
    assert known.is_current()
    monkeypatch.setattr("os.environ", {"ORDINARY": "two"})
    assert not known.is_current()
