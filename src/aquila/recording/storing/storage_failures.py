"""What could not be read or written at the end of a scope, and the one error for all of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from aquila.cassettes.storage.names import WORK_FOLDER
from aquila.errors import CassetteWriteError, reason_of


class StorageFailure(NamedTuple):
    """A journal that could not be read, or a cassette that could not be written."""

    path: Path
    error: Exception

    def __str__(self) -> str:
        reason = reason_of(self.error)
        return reason if str(self.path) in reason else f"{self.path}: {reason}"


def list_failures(failures: Sequence[StorageFailure]) -> str:
    """Return one sentence for each failure."""
    return " ".join([f"{str(failure).rstrip('.')}." for failure in failures])


def raise_failures(failures: Sequence[StorageFailure], root: Path) -> None:
    """Raise one error for all failures, if there are any."""
    if failures:
        raise CassetteWriteError(
            f"not all that was recorded could be stored: {list_failures(failures)} What was not stored is in "
            f"{root / WORK_FOLDER}: a recording run of pytest tries again, and so does `aquila cassettes accept`."
        ) from failures[0].error
