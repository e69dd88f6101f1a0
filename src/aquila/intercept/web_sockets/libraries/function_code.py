"""Replaces the code of a function, so that the change holds wherever its name was bound, and puts it back exactly.

A module with ``from library import connect`` keeps a reference to the function, which patching the library's attribute
would not reach. So the function object stays, and its ``__code__`` is replaced.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

_GLOBAL = "__aquila_replacement_of_{name}__"


class FunctionPatch:
    """The replaced code of one function of a module.

    ``make`` gets a function that does what the original did, and returns the one that is called in its place. It is for
    functions without a closure, as those of a module are.
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
        # The new code runs with the globals of the library's module, so that is where it finds the replacement.
        function.__globals__[self._name] = make(original)
        namespace: dict[str, Any] = {}
        exec(f"def {function.__name__}(*args, **kwargs): return {self._name}(*args, **kwargs)", namespace)
        self._replacement: types.CodeType = namespace[function.__name__].__code__
        function.__code__ = self._replacement

    def undo(self) -> None:
        """Put back what was there, unless somebody has put something of their own there since."""
        if self._function.__code__ is self._replacement:
            self._function.__code__ = self._code
            del self._function.__globals__[self._name]
