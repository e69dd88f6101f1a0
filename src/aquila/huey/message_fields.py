"""The fields that Aquila adds to the message of a task: its reference to a test, and its history so far."""

from __future__ import annotations

from typing import Any

from huey.api import Task

from aquila.huey import scope_reference
from aquila.huey.limits.rescheduling import read_waits, waits_to_send
from aquila.huey.telemetry import queue_time
from aquila.recording.under_test import is_under_test

_NUMBERS = ("attempt", "deliveries", "losses")
"""The numbers of a task's history in its message. On the task their names begin with ``_aquila_``."""
# A task with none of these attributes is enqueued for the first time.
_OF_LATER_MESSAGES = frozenset(("_aquila_scope", "_aquila_waits", *(f"_aquila_{name}" for name in _NUMBERS)))


def fields_to_send(task: Task) -> dict[str, Any] | str | None:
    """Return the fields for the message of a task. None in production, for a task without a history.

    That is the reference alone if there is nothing else, or a dictionary.
    """
    kept = task.__dict__
    # Almost every task ends here, so this look-up is part of the time of each.
    if kept["_aquila_enqueued"] is None and kept.keys().isdisjoint(_OF_LATER_MESSAGES):
        return scope_reference.reference_to_current_scope()
    # A task that came over the wire keeps the reference with which it came, also if that is None.
    reference = kept["_aquila_scope"] if "_aquila_scope" in kept else scope_reference.reference_to_current_scope()
    stamp = {} if kept["_aquila_enqueued"] is None else {queue_time.FIELD: kept["_aquila_enqueued"]}
    numbers = {name: number for name in _NUMBERS if (number := kept.get(f"_aquila_{name}", 0))}
    if stamp or (numbers and numbers != {"attempt": 1}):
        return {"reference": reference, **numbers, **waits_to_send(task), **stamp}
    text: str | None = reference
    return text


def attach_fields(task: Task, fields: Any) -> None:
    """Set on a task the attributes that its message carries. Raises ``MessageRejected`` for malformed data.

    A process that takes part in no test does not look at the reference, and does not pass it on.
    """
    if isinstance(fields, dict):
        numbers = {**fields}
        waits, stamp = numbers.pop("waits", None), numbers.pop(queue_time.FIELD, None)
        if not read_waits(task, waits) or not queue_time.read_stamp(task, stamp):
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
