"""blockbuster, which refuses what blocks an event loop: what Aquila does by itself is not the program's.

Aquila answers a request where the client asks, in the thread of the event loop: it reads cassettes there, and writes
what is recorded. Without this, a miss or a recording of async code would end as the error of a connection, with
blockbuster's error behind it. What a program does that Aquila calls, such as a tool or a filter, is still refused.
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
"""The folder whose functions stand before those of other libraries: a program may be above and below them."""
_OURS = tuple(
    os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(__file__))), package, "")
    for package in ("aquila", "pytest_aquila")
)
_INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
_IMPORTING = "<frozen importlib"
_HELPING = ("filelock", "msgpack", "yaml")
"""The packages through which Aquila reads and writes files."""


def patch_detector(module: ModuleType) -> Iterable[Undoable]:
    """Patch ``blockbuster.blockbuster``: what it wraps from now on lets Aquila's own calls through."""
    # Private to blockbuster. Another version may do it in another way; then it refuses Aquila's calls, too.
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
    """Takes the place of blockbuster's function that says of one call whether it may block.

    It is called by the function that blockbuster has put in the place of the one that blocks.
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
            is_of_others = False  # what a library does while it is imported is done by whoever imports it
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
