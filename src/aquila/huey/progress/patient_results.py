"""How a Huey begins and ends a task where its storage is away for a while."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from aquila.huey.progress.storage_patience import ask_until_answered

PATIENCE = 30.0
"""Seconds for which the storage is asked again."""


class PatientResults:
    """The part of ``AquilaHuey`` that asks the storage before a task begins, and after it has ended."""

    serializer: Any
    storage: Any
    store_result: Callable[[str, Any, bytes], None]

    def is_revoked(self, task: Any, timestamp: Any = None, peek: bool = True) -> bool:
        """Whether a task is revoked. Before a task begins, Huey asks without ``peek``: the task is in no queue then."""
        ask = functools.partial(super().is_revoked, task, timestamp, peek)  # type: ignore[misc]
        revoked: bool = ask() if peek else ask_until_answered(ask, patience=PATIENCE)
        return revoked

    def put_result(self, key: str, data: Any) -> Any:
        """Store a result. A storage that does not answer is asked again: the work is done, and has been paid for."""
        message = self.serializer.serialize(data)
        return ask_until_answered(lambda: self.store_result(key, data, message), patience=PATIENCE)

    def delete(self, key: str) -> Any:
        """Delete what is stored under a key. Huey does so before it stores a result, so it is as patient."""
        return ask_until_answered(lambda: self.storage.delete_data(key), patience=PATIENCE)
