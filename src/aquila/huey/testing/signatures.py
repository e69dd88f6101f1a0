"""Caches the signatures of the functions of tasks: a test may enqueue and perform a task a thousand times."""

from __future__ import annotations

import functools
import inspect
from typing import Any


def signature_of(function: Any) -> inspect.Signature:
    """Return ``inspect.signature(function)`` from a cache. Raises ``TypeError`` for what is no function.

    A builtin that tells no signature counts as one that takes any arguments.
    """
    try:
        return _remembered_signature(function)
    except TypeError:  # The function is not hashable, or it is none: then this raises once more.
        return _read_signature(function)


def _read_signature(function: Any) -> inspect.Signature:
    try:
        return inspect.signature(function)
    except ValueError:
        return inspect.signature(lambda *args, **kwargs: None)


# Both caches of this module are bounded and never cleared. A function keeps its signature, and a class its function.
_remembered_signature = functools.lru_cache(maxsize=512)(_read_signature)


def function_of(task_class: Any) -> Any:
    """Return the function of which a task class was made. None for a class with an ``execute`` of its own."""
    return _remembered_function(task_class)


@functools.lru_cache(maxsize=512)
def _remembered_function(task_class: Any) -> Any:
    # Huey 3.5 keeps no reference to the function on the class, but in the closure of the `execute` that it makes.
    execute = task_class.execute
    cells = dict(zip(execute.__code__.co_freevars, execute.__closure__ or (), strict=True))
    return cells["func"].cell_contents if "func" in cells else None
