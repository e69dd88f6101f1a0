"""The lock of a cassette is let go, whatever happens around it."""

from __future__ import annotations

from pathlib import Path

import filelock
import pytest

from aquila.cassettes.storage import cassette_lock
from aquila.cassettes.storage.cassette_lock import hold_cassette_lock
from aquila.errors import CassetteWriteError


def test_a_lock_is_let_go_whose_holder_cannot_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cassette_lock, "write_new_file", fail)
    # The traceback in ``kept`` keeps what it refers to.
    with (
        pytest.raises(CassetteWriteError, match="No space left") as kept,
        hold_cassette_lock(tmp_path / "x.yaml", tmp_path),
    ):
        pytest.fail("the lock is held without a name")
    (lock,) = (tmp_path / ".journal").glob("*.lock")
    with filelock.FileLock(lock).acquire(timeout=0):
        assert kept.value
