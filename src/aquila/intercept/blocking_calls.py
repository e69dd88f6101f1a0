"""Lets Aquila's own blocking calls through blockbuster, which refuses calls that block an event loop.

Aquila answers a request in the thread of the event loop: there it reads cassettes and writes recordings. Without this
module, a miss or a recording of async code would become the error of a connection, caused by that of blockbuster.
Blocking calls in a program's own functions that Aquila calls, such as a tool or a filter, are still refused.
"""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Callable, Iterable
from types import FrameType, ModuleType
from typing import Any

from aquila.intercept.patching import Patch, Undoable
from aquila.recording.installed_code import is_standard_library

_INTERCEPTED = os.path.dirname(__file__) + os.sep
"""The folder with the replacements of functions of other libraries: the program may be above and below their frames."""
_OURS = tuple(
    os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(__file__))), package, "")
    for package in ("aquila", "pytest_aquila")
)
_INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
_IMPORTING = "<frozen importlib"
_HELPING = ("filelock", "msgpack", "yaml")
"""The packages through which Aquila reads and writes files."""


def patch_detector(module: ModuleType) -> Iterable[Undoable]:
    """Patch ``blockbuster.blockbuster``: the functions that it wraps from now on let Aquila's own calls through."""
    # Private to blockbuster. If a version has no such function, Aquila's calls are refused too.
    if hasattr(module, "_wrap_blocking"):
        yield Patch(module, "_wrap_blocking", _let_own_calls)


def _let_own_calls(wrap: Callable[..., Any]) -> Callable[..., Any]:
    signature = inspect.signature(wrap)

    @functools.wraps(wrap)
    def wrap_for_others(*args: Any, **named: Any) -> Any:
        bound = signature.bind(*args, **named)
        if (may_block := bound.arguments.get("can_block_predicate")) is not None:
            bound.arguments["can_block_predicate"] = _OwnCall(may_block)
        return wrap(*bound.args, **bound.kwargs)

    return wrap_for_others


class _OwnCall:
    """Replaces blockbuster's predicate that says whether a call may block.

    The wrapper that blockbuster has put around the blocking function calls it.
    """

    def __init__(self, may_block: Callable[..., bool]) -> None:
        self._may_block = may_block

    def __call__(self, *args: Any, **named: Any) -> bool:
        return _is_own(sys._getframe(1).f_back) or self._may_block(*args, **named)


def _is_own(frame: FrameType | None) -> bool:
    """Whether Aquila made the call in ``frame``, itself or through a library that works for it."""
    is_of_others = False
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(_OURS) and not file.startswith(_INTERCEPTED):
            return not is_of_others
        if file.startswith(_IMPORTING):
            is_of_others = False  # the calls of a library during its import count as those of its importer
        elif not (file.startswith(_INTERCEPTED) or _is_between(file)):
            is_of_others = True
        frame = frame.f_back
    return False


def _is_between(file: str) -> bool:
    """Whether code in a file may stand between Aquila and a call that blocks."""
    for folder in _INSTALLED:
        _, found, inside = file.partition(folder)
        if found:
            return inside.partition(os.sep)[0].removesuffix(".py") in _HELPING
    return file.startswith("<") or is_standard_library(file)  # `<frozen os>`, `<string>`
