"""The functions behind tasks, their signatures and the names of their parameters.

All are cached: a test may enqueue and perform a task a thousand times, and a worker describes the arguments of each.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

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
        return inspect.signature(function)
    except ValueError:
        return inspect.signature(lambda *args, **kwargs: None)


_remembered_signature = _cached(_read_signature)


@_cached
def function_of(task_class: Any) -> Any:
    """Return the function of which a task class was made. None for a class with an ``execute`` of its own."""
    # Huey 3.5 keeps no reference to the function on the class, but in the closure of the `execute` that it makes.
    execute = task_class.execute
    cells = dict(zip(execute.__code__.co_freevars, execute.__closure__ or (), strict=True))
    return cells["func"].cell_contents if "func" in cells else None


@_cached
def parameters_of(task_class: Any) -> tuple[str, ...]:
    """Return the names of the parameters of a task class that take positional arguments."""
    function = function_of(task_class)
    parameters = signature_of(function).parameters.values() if function is not None else ()
    return tuple(each.name for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD))
