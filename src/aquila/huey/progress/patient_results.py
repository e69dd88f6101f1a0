"""How a Huey begins and ends a task where its storage is away for a while."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from types import FunctionType
from typing import Any

from huey.api import Huey, PeriodicTask, Task

from aquila.errors import NotSerializable
from aquila.huey.progress.storage_patience import ask_again
from aquila.huey.running_task import current_task_or_none

_OF_TASKS = (Task, PeriodicTask)

PATIENCE = 30.0
"""Seconds for which the storage is asked again."""


def find_own(kind: Any, name: str) -> Any:
    """Return a function of Huey's own, or None where whoever instruments Huey has put another in its place already."""
    found = kind.__dict__[name]
    is_own = type(found) is FunctionType and found.__globals__ is vars(sys.modules[kind.__module__])
    return found if is_own else None


_is_revoked_of_huey, _keys_of_huey, _key_of_huey = (
    find_own(Huey, name) for name in ("is_revoked", "_revoke_keys", "_task_key")
)
"""How Huey itself asks whether a task is revoked."""


class PatientResults:
    """The part of ``AquilaHuey`` that asks the storage before a task begins, and after it has ended."""

    keep_running: bool
    serializer: Any
    storage: Any
    _task_key: Callable[[Any, str], str]
    move_to_results: Callable[[str, Any, bytes], bool]

    # Each asks directly first, without a function to ask again: that is part of every task's time.

    def is_revoked(self, task: Any, timestamp: Any = None, peek: bool = True) -> bool:
        """Whether a task is revoked. Before a task begins, Huey asks without ``peek``: the task is in no queue then."""
        try:
            kind: Any = type(task)
            if (
                not peek and kind.__base__ in _OF_TASKS and self._asks_as_huey()
            ):  # As what a worker is about to begin: mostly not revoked.
                # The key of its class is kept there. No other class inherits it: see the condition.
                of_class = kind.__dict__.get("_aquila_revoke_key")
                if of_class is None:
                    of_class = kind._aquila_revoke_key = self._task_key(kind, "rt")
                if not self.storage.peek_many([task.revoke_id, of_class]):
                    return False
            return bool(super().is_revoked(task, timestamp, peek))  # type: ignore[misc]
        except Exception as error:
            if peek:
                raise
            failure = error
        ask = functools.partial(super().is_revoked, task, timestamp, peek)  # type: ignore[misc]
        return bool(ask_again(ask, failure, patience=PATIENCE))

    def _asks_as_huey(self) -> bool:
        """Whether what would ask is Huey's own. Not found once for each class: a test replaces it for a while."""
        kind: Any = type(self)
        return (
            kind._revoke_keys is _keys_of_huey
            and kind._task_key is _key_of_huey
            and getattr(super().is_revoked, "__func__", self) is _is_revoked_of_huey  # type: ignore[misc]
        )

    def put_result(self, key: str, data: Any) -> Any:
        """Store a result. A storage that does not answer is asked again: the work is done, and has been paid for."""
        try:
            message = self.serializer.serialize(data)
        except NotSerializable as refusal:
            current = current_task_or_none()
            if current is not None and current.task.id == key:
                current.task._aquila_unsendable = refusal
            raise
        try:
            return self._store_result(key, data, message)
        except Exception as error:  # noqa: BLE001 -- whatever a storage raises
            failure = error
        return ask_again(lambda: self._store_result(key, data, message), failure, patience=PATIENCE)

    def _store_result(self, key: str, data: Any, message: bytes) -> None:
        if not (self.keep_running and self.move_to_results(key, data, message)):
            self.storage.put_data(key, message, is_result=True)

    def delete(self, key: str) -> Any:
        """Delete what is stored under a key. Huey does so before it stores a result, so it is as patient."""
        try:
            return self.storage.delete_data(key)
        except Exception as error:  # noqa: BLE001 -- whatever a storage raises
            failure = error
        return ask_again(lambda: self.storage.delete_data(key), failure, patience=PATIENCE)
