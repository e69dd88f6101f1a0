"""The parameters of the functions of tasks, looked at once: a test may enqueue and perform one a thousand times."""

from __future__ import annotations

import functools
import inspect
from typing import Any


def signature_of(function: Any) -> inspect.Signature:
    """Return ``inspect.signature(function)``, and remember it. Raises ``TypeError`` and ``ValueError`` as that does."""
    try:
        return _remembered_signature(function)
    except TypeError:  # it cannot be a key
        return inspect.signature(function)


_remembered_signature = functools.lru_cache(maxsize=512)(inspect.signature)


def function_of(task_class: Any) -> Any:
    """Return the function that a task class was made from, or None for a class with an ``execute`` of its own."""
    return _remembered_function(task_class)


@functools.lru_cache(maxsize=512)
def _remembered_function(task_class: Any) -> Any:
    # Huey keeps no reference to the function on the class: it is in the closure of the `execute` that it makes.
    execute = task_class.execute
    cells = dict(zip(execute.__code__.co_freevars, execute.__closure__ or (), strict=True))
    return cells["func"].cell_contents if "func" in cells else None
