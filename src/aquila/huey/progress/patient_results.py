"""The methods by which Huey begins and ends a task, made patient with a storage that does not answer for a while."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from aquila.huey.progress.storage_patience import ask_again
from aquila.huey.serializing.sendable_values import refusal_of
from aquila.huey.tasks.running_task import current_task_or_none

PATIENCE = 30.0
"""Seconds for which a storage that does not answer is asked again."""


class PatientResults:
    """The part of ``AquilaHuey`` that asks the storage before a task begins and after it has ended."""

    keep_running: bool
    serializer: Any
    storage: Any
    move_to_results: Callable[[str, Any, bytes], bool]

    # Each method first asks directly, and makes the function that asks again only after a failure: making it is a
    # notable part of the time of a short task.

    def is_revoked(self, task: Any, timestamp: Any = None, peek: bool = True) -> bool:
        """Whether a task is revoked.

        A worker that is about to begin a task asks without ``peek``. Only then is a storage that does not answer asked
        again: the task is in no queue any more, and would be lost.
        """
        try:
            return bool(super().is_revoked(task, timestamp, peek))  # type: ignore[misc]
        except Exception as error:
            if peek:
                raise
            failure = error
        ask = functools.partial(super().is_revoked, task, timestamp, peek)  # type: ignore[misc]
        return bool(ask_again(ask, failure, patience=PATIENCE))

    def put_result(self, key: str, data: Any) -> Any:
        """Store ``data`` as the result of the task with the id ``key``.

        A storage that does not answer is asked again: the work is done, and paid for. Raises ``NotSerializable``.
        """
        try:
            value = self.serializer.serialize(data)
        except Exception as error:  # noqa: BLE001 -- whatever a serializer raises
            refusal = refusal_of(error)
            # Tells `end_unsendable` that the value of this task was refused, and not that of a task that follows it.
            current = current_task_or_none()
            if current is not None and current.task.id == key:
                current.task._aquila_unsendable = refusal
            raise refusal from refusal.__cause__
        try:
            if not self.keep_running:  # The usual case, without one more call.
                return self.storage.put_data(key, value, is_result=True)
            return self._store_result(key, data, value)
        except Exception as error:  # noqa: BLE001 -- whatever a storage raises
            failure = error
        return ask_again(lambda: self._store_result(key, data, value), failure, patience=PATIENCE)

    def _store_result(self, key: str, data: Any, value: bytes) -> None:
        """Store a result, in the place of results that ``keep_running`` keeps if it has one for this task."""
        if not (self.keep_running and self.move_to_results(key, data, value)):
            self.storage.put_data(key, value, is_result=True)

    def delete(self, key: str) -> Any:
        """Delete the entry with a key. As patient as ``put_result``, which Huey calls right afterwards."""
        try:
            return self.storage.delete_data(key)
        except Exception as error:  # noqa: BLE001 -- whatever a storage raises
            failure = error
        return ask_again(lambda: self.storage.delete_data(key), failure, patience=PATIENCE)
