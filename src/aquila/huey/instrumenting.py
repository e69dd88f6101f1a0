"""Give a Huey that exists already the class that ``AquilaHuey`` is mixed into."""

from __future__ import annotations

import functools
import warnings
from typing import Any, TypeVar, cast

import huey as _huey
from huey.api import TaskWrapper
from huey.serializer import Serializer

from aquila.errors import ConfigError, PickledMessages
from aquila.huey.instances import AquilaHuey
from aquila.huey.task_wrapper import AquilaTaskWrapper

H = TypeVar("H", bound=_huey.Huey)


@functools.cache  # One class for each Huey class, for as long as the process lives.
def _class_with_aquila(kind: type) -> type:
    return type(kind.__name__, (AquilaHuey, kind), {"__module__": kind.__module__})


def instrument(huey: H, *, keep_running: bool = False) -> H:
    """Give an existing Huey what ``AquilaHuey`` adds, except for the serializer, and return it.

    Tasks that are declared from now on may be ``async``; those declared before stay as they are. Call it where the Huey
    is made, so that producers and workers both have it. ``keep_running`` is that of ``AquilaHuey``. A Huey that was
    instrumented already is not changed. Warns with ``PickledMessages``, once for each Huey, if it reads pickles.
    """
    reject_other_than_huey(huey)
    is_new, own = not isinstance(huey, AquilaHuey), cast("Any", huey)
    change_class(huey)
    if is_new and _reads_any_pickle(type(own.serializer)):
        warnings.warn(
            f"the Huey {own.name!r} reads pickles: whoever can write to its queue runs code in its workers. "
            "Make it with serializer=aquila.huey.MsgpackSerializer(), or use a class of aquila.huey. To stay with "
            "pickle, ignore aquila.errors.PickledMessages",
            PickledMessages,
            stacklevel=2,
        )
    if keep_running:
        own.start_keeping()
    return huey


def reject_other_than_huey(huey: Any) -> None:
    """Raise ``ConfigError`` for what is no Huey, before anything of it is changed. A MiniHuey is none."""
    if not isinstance(huey, _huey.Huey):
        raise ConfigError(
            f"{type(huey).__module__}.{type(huey).__qualname__} is no huey.Huey: it has no queue, no messages and no "
            "results that could be looked at. Use aquila.huey.MemoryHuey in its place, or test the function itself"
        )


def _reads_any_pickle(kind: Any) -> bool:
    """Whether a serializer reads as Huey's own does. One that checks a signature first does not."""
    return kind.deserialize is Serializer.deserialize and kind._deserialize is Serializer._deserialize


def change_class(huey: Any) -> None:
    """Give a Huey the class that ``AquilaHuey`` is mixed into, unless it has one already."""
    if not isinstance(huey, AquilaHuey):
        huey.__class__ = _class_with_aquila(cast("Any", type(huey)))
        if huey.task_wrapper_class is TaskWrapper:
            huey.task_wrapper_class = AquilaTaskWrapper
