"""Makes the ids of tasks: random UUIDs like those of Huey, but faster. Every task that is enqueued needs one."""

from __future__ import annotations

import os
import uuid
from typing import Any

from huey.api import Task

# The functions as they were when this module was imported, to notice that a test has replaced one of them.
_of_huey, _of_python = Task.create_id, uuid.uuid4
# The first digit of the fourth group of a UUID has only two random bits; see RFC 9562.
_VARIANT = {digit: "89ab"[int(digit, 16) % 4] for digit in "0123456789abcdef"}


def create_id(task: Any) -> str:
    """Return an id for a task. Where a test has replaced Huey's ``create_id`` or ``uuid4``, its function is used."""
    if Task.create_id is not _of_huey or uuid.uuid4 is not _of_python:
        return str(Task.create_id(task))
    digits = os.urandom(16).hex()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{_VARIANT[digits[16]]}{digits[17:20]}-{digits[20:]}"


def let_make_ids(task_class: Any) -> None:
    """Let ``create_id`` make the ids of the tasks of a class, unless the class has a method of its own for that."""
    if task_class.create_id is _of_huey:
        task_class.create_id = create_id
