"""The methods by which Huey begins and ends a task, made patient with a storage that does not answer for a while."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from types import FunctionType, MethodType
from typing import Any

from huey.api import Huey, PeriodicTask, Task

from aquila.errors import NotSerializable
from aquila.huey.progress.storage_patience import ask_again
from aquila.huey.running_task import current_task_or_none

_OF_TASKS = (Task, PeriodicTask)

PATIENCE = 30.0
"""Seconds for which a storage that does not answer is asked again."""


def find_own(kind: Any, name: str) -> Any:
    """Return the function ``name`` of a class of Huey. None where an instrumentation has replaced it already."""
    # A function belongs to its module if its globals are those of the module.
    found = kind.__dict__[name]
    is_own = type(found) is FunctionType and found.__globals__ is vars(sys.modules[kind.__module__])
    return found if is_own else None


_is_revoked_of_huey, _keys_of_huey, _key_of_huey = (
    find_own(Huey, name) for name in ("is_revoked", "_revoke_keys", "_task_key")
)
"""Huey's own functions that ask whether a task is revoked. Where none of them is replaced, there is a faster way."""


class PatientResults:
    """The part of ``AquilaHuey`` that asks the storage before a task begins and after it has ended."""

    keep_running: bool
    serializer: Any
    storage: Any
    _task_key: Callable[[Any, str], str]
    move_to_results: Callable[[str, Any, bytes], bool]

    # Each method first asks directly, and makes the function that asks again only after a failure: making it is a
    # notable part of the time of a short task.

    def is_revoked(self, task: Any, timestamp: Any = None, peek: bool = True) -> bool:
        """Whether a task is revoked.

        A worker that is about to begin a task asks without ``peek``. Only then is a storage that does not answer asked
        again: the task is in no queue any more, and would be lost.
        """
        try:
            kind: Any = type(task)
            if not peek and kind.__base__ in _OF_TASKS and self._asks_as_huey():
                # The usual case, a task that is not revoked, costs one round trip and no computed names. The key of its
                # class is cached on the class, for as long as that lives. No class inherits it, because only direct
                # subclasses of Huey's own come here.
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
        """Whether none of Huey's functions that ask is replaced."""
        # Looked up each time and not once for each class, because a test may replace a function for a while.
        kind: Any = type(self)
        return (
            kind._revoke_keys is _keys_of_huey
            and kind._task_key is _key_of_huey
            # A wrapper of the function is no method, but may show the function as its `__func__`, too.
            and type(method := super().is_revoked) is MethodType  # type: ignore[misc]
            and method.__func__ is _is_revoked_of_huey
        )

    def put_result(self, key: str, data: Any) -> Any:
        """Store ``data`` as the result of the task with the id ``key``.

        A storage that does not answer is asked again: the work is done, and paid for. Raises ``NotSerializable``.
        """
        try:
            message = self.serializer.serialize(data)
        except NotSerializable as refusal:
            # `end_unsendable` recognises by it that the value of the task could not be sent, and not what follows it.
            current = current_task_or_none()
            if current is not None and current.task.id == key:
                current.task._aquila_unsendable = refusal
            raise
        try:
            if not self.keep_running:  # The usual case, without one more call.
                return self.storage.put_data(key, message, is_result=True)
            return self._store_result(key, data, message)
        except Exception as error:  # noqa: BLE001 -- whatever a storage raises
            failure = error
        return ask_again(lambda: self._store_result(key, data, message), failure, patience=PATIENCE)

    def _store_result(self, key: str, data: Any, message: bytes) -> None:
        if not (self.keep_running and self.move_to_results(key, data, message)):
            self.storage.put_data(key, message, is_result=True)

    def delete(self, key: str) -> Any:
        """Delete the entry with a key. As patient as ``put_result``, because Huey calls it right before that."""
        try:
            return self.storage.delete_data(key)
        except Exception as error:  # noqa: BLE001 -- whatever a storage raises
            failure = error
        return ask_again(lambda: self.storage.delete_data(key), failure, patience=PATIENCE)
