"""Compares messages of a provider in two recordings, apart from ids and times, which are new in every conversation."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any


def same_but_for_ids(one: bytes, other: bytes) -> dict[str, str] | None:
    """Return the ids of the message ``one`` with their counterparts in ``other``.

    Returns None if the two messages differ in anything but ids and times, or if ids do not correspond one to one.
    """
    if one == other:
        return {}
    try:
        pairs = list(_differences(json.loads(one), json.loads(other), ""))
    except (ValueError, RecursionError, _Differs):
        return None
    ids = dict(pairs)
    is_one_to_one = len(set(ids.values())) == len(ids) and all(ids[mine] == its for mine, its in pairs)
    return ids if is_one_to_one else None


_ID = re.compile("id|.*(_id|Id)")
"""The names of fields that hold ids. ``paid`` and ``valid`` end in the same letters and do not match."""


def _is_made(text: str) -> bool:
    """Return whether a provider generated this id. A short text without digits is a name, such as that of a voice."""
    return len(text) >= 16 or any(character.isdigit() for character in text)


class _Differs(Exception):
    pass


def _differences(one: Any, other: Any, key: str) -> Iterator[tuple[str, str]]:
    """Yield the ids that differ. Raises ``_Differs`` where something else does."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        for name in one:
            yield from _differences(one[name], other[name], name)
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for mine, its in zip(one, other, strict=True):
            yield from _differences(mine, its, key)
    elif one != other or type(one) is not type(other):
        if isinstance(one, str) and isinstance(other, str) and _ID.fullmatch(key) and _is_made(one) and _is_made(other):
            yield one, other
        elif not (type(one) is int and type(other) is int and key.endswith(("_at", "At"))):
            raise _Differs
