"""How a Huey begins and ends a task where its storage is away for a while."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from huey.api import Huey, PeriodicTask, Task

from aquila.errors import NotSerializable
from aquila.huey.progress.storage_patience import ask_again
from aquila.huey.running_task import current_task_or_none

_OF_TASKS = (Task, PeriodicTask)

PATIENCE = 30.0
"""Seconds for which the storage is asked again."""


def leads_to_huey(kind: Any, part: type, method: str) -> bool:
    """Whether ``super()`` in a method of ``part`` calls Huey's own, for an object of a class with that part."""
    bases = kind.__mro__[kind.__mro__.index(part) + 1 :]
    return next((base for base in bases if method in base.__dict__), None) is Huey


def _compare_with_huey(kind: Any) -> bool:
    """Whether a class asks for revoked tasks as Huey itself does, behind ``PatientResults``."""
    finds_keys_as_huey = kind._revoke_keys is Huey._revoke_keys and kind._task_key is Huey._task_key
    return finds_keys_as_huey and leads_to_huey(kind, PatientResults, "is_revoked")


_asks_as_huey: Callable[[Any], bool] = functools.cache(_compare_with_huey)
"""The same, found once for each class."""


class PatientResults:
    """The part of ``AquilaHuey`` that asks the storage before a task begins, and after it has ended."""

    serializer: Any
    storage: Any
    _task_key: Callable[[Any, str], str]
    store_result: Callable[[str, Any, bytes], None]

    # Each asks directly first, without a function to ask again: that is part of every task's time.

    def is_revoked(self, task: Any, timestamp: Any = None, peek: bool = True) -> bool:
        """Whether a task is revoked. Before a task begins, Huey asks without ``peek``: the task is in no queue then."""
        try:
            kind: Any = type(task)
            if (
                not peek and kind.__base__ in _OF_TASKS and _asks_as_huey(type(self))
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
            return self.store_result(key, data, message)
        except Exception as error:  # noqa: BLE001 -- whatever a storage raises
            failure = error
        return ask_again(lambda: self.store_result(key, data, message), failure, patience=PATIENCE)

    def delete(self, key: str) -> Any:
        """Delete what is stored under a key. Huey does so before it stores a result, so it is as patient."""
        try:
            return self.storage.delete_data(key)
        except Exception as error:  # noqa: BLE001 -- whatever a storage raises
            failure = error
        return ask_again(lambda: self.storage.delete_data(key), failure, patience=PATIENCE)
