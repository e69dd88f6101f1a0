"""The functions behind tasks, their signatures and the names of their parameters.

All are cached: a test may enqueue and perform a task a thousand times, and a worker describes the arguments of each.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from aquila.signatures import read_signature

T = TypeVar("T")


def _cached(function: Callable[[Any], T]) -> Callable[[Any], T]:
    """Cache a function. The caches are bounded and never cleared: a function and a class keep what is asked here."""
    return functools.lru_cache(maxsize=512)(function)


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
        return read_signature(function)
    except ValueError:
        return inspect.signature(lambda *args, **kwargs: None)


_remembered_signature = _cached(_read_signature)


@_cached
def function_of(task_class: Any) -> Any:
    """Return the function of which a task class was made, also if its ``execute`` was wrapped. None for other classes.

    Nothing is found in a class of plain Huey whose ``execute`` was replaced by one that does not tell what it wraps.
    """
    # Aquila's wrapper keeps the function. Huey 3.5 has it only in the closure of the `execute` that it makes.
    if (function := getattr(task_class, "_aquila_function", None)) is not None:
        return function
    execute = inspect.unwrap(task_class.execute)
    if getattr(execute, "__qualname__", "") != "TaskWrapper.create_task.<locals>.execute":
        return None
    return inspect.getclosurevars(execute).nonlocals["func"]


@_cached
def parameters_of(task_class: Any) -> tuple[str, ...]:
    """Return the names of the parameters of a task class that take positional arguments."""
    function = function_of(task_class)
    parameters = signature_of(function).parameters.values() if function is not None else ()
    return tuple(each.name for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD))
