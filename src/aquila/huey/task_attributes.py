"""Keeps what Aquila notes on a task apart from a ``__getattr__`` of its class."""

from __future__ import annotations

from typing import Any

_PREFIX = "_aquila_"


def keep_attributes_apart(task_class: Any) -> None:
    """Make attributes of Aquila that a task does not have absent, also if its class answers for unknown names.

    Does nothing for a class without a ``__getattr__``. Otherwise the class gets one that asks that for all other names.
    """
    # Not `hasattr`: that would find the `__getattr__` of a metaclass, too.
    if not any("__getattr__" in vars(kind) for kind in task_class.__mro__):
        return
    own = vars(task_class).get("__getattr__")

    def __getattr__(self: Any, name: str) -> Any:
        if name.startswith(_PREFIX):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)
        # What is inherited is looked up each time, because a test may replace it for a while.
        return super(task_class, self).__getattr__(name) if own is None else own.__get__(self)(name)

    task_class.__getattr__ = __getattr__
