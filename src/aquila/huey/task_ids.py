"""The ids of tasks: as Huey makes them, random UUIDs, and more quickly. Each task that is enqueued needs one."""

from __future__ import annotations

import os
import uuid
from typing import Any

from huey.api import Task

_of_huey, _of_python = Task.create_id, uuid.uuid4
_VARIANT = {digit: "89ab"[int(digit, 16) % 4] for digit in "0123456789abcdef"}


def create_id(task: Any) -> str:
    """Return an id for a task. What somebody has put in the place of Huey's way, or of ``uuid4``, is used."""
    if Task.create_id is not _of_huey or uuid.uuid4 is not _of_python:
        return str(Task.create_id(task))
    digits = os.urandom(16).hex()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{_VARIANT[digits[16]]}{digits[17:20]}-{digits[20:]}"


def let_make_ids(task_class: Any) -> bool:
    """Let tasks of a class have their ids from here, unless the class has a way of its own. Return whether it had none.

    Delete the attribute ``create_id`` of the class to take that back.
    """
    if task_class.create_id is not _of_huey:
        return False
    task_class.create_id = create_id
    return True
