"""The fields that Aquila adds to the message of a task: its reference to a test, and its history so far."""

from __future__ import annotations

from typing import Any

from huey.api import Task

from aquila.huey.limits.rescheduling import read_waits, waits_to_send
from aquila.huey.scopes import scope_reference
from aquila.huey.telemetry import queue_time
from aquila.recording.under_test import is_under_test

_NUMBERS = ("attempt", "deliveries", "losses")
"""The numbers of a task's history in its message. On the task their names begin with ``_aquila_``."""


def fields_to_send(task: Task) -> dict[str, Any] | str | None:
    """Return the fields for the message of a task: the reference alone, or a dictionary if there is more to send.

    None means no fields, as in production for a task without a history.
    """
    enqueued = task._aquila_enqueued
    # Almost every task is enqueued for the first time and ends here, so these look-ups are part of the time of each.
    if enqueued is None and not (
        hasattr(task, "_aquila_scope")
        or hasattr(task, "_aquila_attempt")
        or hasattr(task, "_aquila_deliveries")
        or hasattr(task, "_aquila_losses")
    ):
        return scope_reference.reference_to_current_scope()
    # A task that came over the wire keeps the reference with which it came, also if that is None.
    came = hasattr(task, "_aquila_scope")
    reference: str | None = task._aquila_scope if came else scope_reference.reference_to_current_scope()
    stamp = {} if enqueued is None else {queue_time.FIELD: enqueued}
    numbers = {name: number for name in _NUMBERS if (number := getattr(task, f"_aquila_{name}", 0))}
    if stamp or (numbers and numbers != {"attempt": 1}):
        return {"reference": reference, **numbers, **waits_to_send(task), **stamp}
    return reference


def attach_fields(task: Task, fields: Any) -> None:
    """Set on a task the attributes that its message carries. Raises ``MessageRejected`` for malformed data.

    A process that takes part in no test does not look at the reference, and does not pass it on.
    """
    if isinstance(fields, dict):
        numbers = {**fields}
        waits, stamp = numbers.pop("waits", None), numbers.pop(queue_time.FIELD, None)
        if not read_waits(task, waits) or not queue_time.read_enqueue_time(task, stamp):
            raise scope_reference.malformed_reference()
        fields = numbers.pop("reference", 0)  # 0 stands for a missing one, and is refused below. None is allowed.
        for name, number in numbers.items():
            if name not in _NUMBERS or type(number) is not int or number < 0:
                raise scope_reference.malformed_reference()
            setattr(task, f"_aquila_{name}", number)
    if fields is None or not is_under_test():
        task._aquila_scope = None
        return
    if not isinstance(fields, str):
        raise scope_reference.malformed_reference()
    scope_reference.parse_reference(fields)
    task._aquila_scope = fields
