"""Keeps what Aquila notes on a task apart from a ``__getattr__`` of its class."""

from __future__ import annotations

from typing import Any

_PREFIX = "_aquila_"


def keep_attributes_apart(task_class: Any) -> None:
    """Make a task without an attribute of Aquila raise ``AttributeError``, also if its class has a ``__getattr__``.

    Does nothing for a class without a ``__getattr__``. Otherwise the class gets a new ``__getattr__``, which calls the
    earlier one for all names but Aquila's.
    """
    # Not `hasattr`: that would find the `__getattr__` of a metaclass, too.
    if not any("__getattr__" in vars(kind) for kind in task_class.__mro__):
        return
    own = vars(task_class).get("__getattr__")

    def __getattr__(self: Any, name: str) -> Any:
        if name.startswith(_PREFIX):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)
        # An inherited method is looked up each time, because a test may replace it for a while.
        return super(task_class, self).__getattr__(name) if own is None else own.__get__(self)(name)

    task_class.__getattr__ = __getattr__
