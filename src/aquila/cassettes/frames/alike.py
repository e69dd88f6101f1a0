"""Whether a provider has said the same in two recordings, but for the ids and moments that it makes anew each time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any


def same_but_for_ids(one: bytes, other: bytes) -> dict[str, str] | None:
    """Return the ids of ``one`` with those that stand for them in ``other``; None if the two differ in more."""
    if one == other:
        return {}
    try:
        pairs = list(_differences(json.loads(one), json.loads(other), ""))
    except (ValueError, RecursionError, _Differs):
        return None
    ids = dict(pairs)
    return ids if all(ids[mine] == its for mine, its in pairs) else None  # one id stands for one


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
        if isinstance(one, str) and isinstance(other, str) and key.endswith(("id", "Id")):
            yield one, other
        elif not (type(one) is int and type(other) is int and key.endswith(("_at", "At"))):
            raise _Differs
