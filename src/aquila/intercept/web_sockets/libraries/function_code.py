"""Replaces the code of a function, and restores it exactly.

A module with ``from library import connect`` keeps a reference to the function, so patching the library's attribute
would not reach it. Here the function object stays, and its ``__code__`` is replaced.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

_GLOBAL = "__aquila_replacement_of_{name}__"


class FunctionPatch:
    """The replaced code of one function of a module.

    ``make`` gets a function that does what the original did, and returns the replacement. The function must have no
    closure, like all functions of a module.
    """

    def __init__(self, function: Any, make: Callable[[Any], Any]) -> None:
        self._function = function
        self._code: types.CodeType = function.__code__
        self._name = _GLOBAL.format(name=function.__name__)
        original = types.FunctionType(
            self._code, function.__globals__, function.__name__, function.__defaults__, function.__closure__
        )
        original.__kwdefaults__ = function.__kwdefaults__
        original.__qualname__, original.__module__ = function.__qualname__, function.__module__
        # The new code runs with the globals of the library's module, so the replacement must be there.
        function.__globals__[self._name] = make(original)
        namespace: dict[str, Any] = {}
        exec(f"def {function.__name__}(*args, **kwargs): return {self._name}(*args, **kwargs)", namespace)
        self._replacement: types.CodeType = namespace[function.__name__].__code__
        function.__code__ = self._replacement

    def undo(self) -> None:
        """Restore the original code, unless another tool has replaced it since."""
        if self._function.__code__ is self._replacement:
            self._function.__code__ = self._code
            del self._function.__globals__[self._name]
