"""Replaces attributes of one object until a block ends."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

_ABSENT = object()


@contextlib.contextmanager
def replace_attributes(target: Any, **attributes: Any) -> Iterator[None]:
    """Set attributes of one object, and restore at the end of the block those that it had itself before.

    An attribute that only its class had is deleted from the object again, so that the class shows through.
    """
    # `vars`, because `getattr` would also find the attributes of the class, and restoring those would fix them on the
    # object.
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
