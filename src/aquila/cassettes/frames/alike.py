"""Whether a provider has said the same in two recordings, but for the ids and moments that it makes anew each time."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any


def same_but_for_ids(one: bytes, other: bytes) -> dict[str, str] | None:
    """Return the ids of ``one`` with their counterparts in ``other``; None if the two differ in more."""
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
"""The name of a field with an id. Those of ``paid`` and ``valid`` are none."""


def _is_made(text: str) -> bool:
    """Whether a provider made this anew. What is short and has no digit is a name, such as that of a voice."""
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
