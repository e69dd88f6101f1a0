"""Gives an existing Huey a class that ``AquilaHuey`` is mixed into."""

from __future__ import annotations

import functools
import warnings
from typing import Any, TypeVar, cast

import huey as _huey
from huey.api import TaskWrapper
from huey.serializer import Serializer

from aquila.errors import ConfigError, PickledMessages
from aquila.huey.connections_at_fork import close_before_forks
from aquila.huey.instances import AquilaHuey
from aquila.huey.redis_connections import reject_decoded_answers
from aquila.huey.stuck_connections import close_stuck_connections
from aquila.huey.tasks.task_wrapper import AquilaTaskWrapper

H = TypeVar("H", bound=_huey.Huey)


# One class for each class of Huey, kept for as long as the process lives: two instrumented Hueys of one class have the
# same class, as they had before.
@functools.cache
def _class_with_aquila(kind: type) -> type:
    return type(kind.__name__, (AquilaHuey, kind), {"__module__": kind.__module__})


def instrument(huey: H, *, keep_running: bool = False) -> H:
    """Give an existing Huey what ``AquilaHuey`` adds, except for the serializer, and return it.

    Call it where the Huey is made, so that producers and workers both have it. Tasks that are declared afterwards may
    be ``async``; tasks declared before stay as they are. ``keep_running`` is that of ``AquilaHuey``. A Huey that was
    instrumented before keeps its class. Warns with ``PickledMessages``, once for each Huey, if it reads pickles. Raises
    ``ConfigError`` for an object that is no ``huey.Huey``, and for a connection to Redis that decodes its answers.
    """
    reject_other_than_huey(huey)
    reject_decoded_answers(huey)
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
    """Raise ``ConfigError`` for an object that is no Huey, before it is changed. A ``MiniHuey`` is none."""
    if not isinstance(huey, _huey.Huey):
        raise ConfigError(
            f"{type(huey).__module__}.{type(huey).__qualname__} is no huey.Huey: it has no queue, no messages and no "
            "results that could be looked at. Use aquila.huey.MemoryHuey in its place, or test the function itself"
        )


def reject_plain_huey(huey: Any, needed_by: str) -> None:
    """Raise ``ConfigError`` for a Huey that is not of ``aquila.huey`` and was not instrumented."""
    if not isinstance(huey, AquilaHuey):
        raise ConfigError(f"{needed_by} needs a Huey of aquila.huey; give yours to aquila.huey.instrument() first")


def _reads_any_pickle(kind: Any) -> bool:
    """Whether a class of serializers reads as Huey's own does. One that checks a signature first overrides a method."""
    return kind.deserialize is Serializer.deserialize and kind._deserialize is Serializer._deserialize


def give_class(huey: Any, kind: Any) -> None:
    """Replace the class of an object, and keep its attributes fast."""
    huey.__class__ = kind
    # Python has just moved the attributes into a dictionary that shares its keys with other objects. In such a one, a
    # Python before 3.13 cannot look up attributes by their place, which is faster; in a dictionary of its own it can.
    # Each task reads some thirty attributes of its Huey.
    huey.__dict__ = {**vars(huey)}


def change_class(huey: Any) -> None:
    """Give a Huey the class that ``AquilaHuey`` is mixed into, unless it has one already."""
    if not isinstance(huey, AquilaHuey):
        # The class of the instance is replaced, because tasks and hooks of the program refer to this very object. No
        # `__init__` runs: the attributes of `AquilaHuey` have their defaults on the class.
        give_class(huey, _class_with_aquila(cast("Any", type(huey))))
        close_before_forks(huey.storage)
        close_stuck_connections(huey.storage)
        if huey.task_wrapper_class is TaskWrapper:
            huey.task_wrapper_class = AquilaTaskWrapper
