"""Replace attributes of one object for the length of a block."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

_ABSENT = object()


@contextlib.contextmanager
def replace_attributes(target: Any, **attributes: Any) -> Iterator[None]:
    """Set attributes of one object. Afterwards it has the attributes it had itself; those of its class show again."""
    before = {name: vars(target).get(name, _ABSENT) for name in attributes}
    for name, value in attributes.items():
        setattr(target, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is _ABSENT:
                delattr(target, name)
            else:
                setattr(target, name, value)
