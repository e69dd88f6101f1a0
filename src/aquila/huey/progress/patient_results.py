"""How a Huey stores what a task has returned where its storage is away for a while."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aquila.huey.progress.storage_patience import ask_until_answered

PATIENCE = 30.0
"""Seconds for which the storage is asked again."""


class PatientResults:
    """The part of ``AquilaHuey`` that stores results."""

    serializer: Any
    storage: Any
    store_result: Callable[[str, Any, bytes], None]

    def put_result(self, key: str, data: Any) -> Any:
        """Store a result. A storage that does not answer is asked again: the work is done, and has been paid for."""
        message = self.serializer.serialize(data)
        return ask_until_answered(lambda: self.store_result(key, data, message), patience=PATIENCE)

    def delete(self, key: str) -> Any:
        """Delete what is stored under a key. Huey does so before it stores a result, so it is as patient."""
        return ask_until_answered(lambda: self.storage.delete_data(key), patience=PATIENCE)
