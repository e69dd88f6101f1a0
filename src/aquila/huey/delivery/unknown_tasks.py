"""Reads messages whose task is not registered here."""

from __future__ import annotations

from typing import Any

from huey.registry import Message

from aquila.huey.serializing.sendable_values import make_text_sendable

LONGEST_ID = 200
"""Characters of an id or a name that every storage can keep."""


def read_unknown(huey: Any, data: bytes) -> Message | None:
    """Return a message whose task, or one that follows it, is not registered here. None where it cannot be read."""
    try:
        message = huey.serializer.deserialize(data)
    except Exception:  # noqa: BLE001 -- whatever a serializer raises
        return None
    known = isinstance(message, Message) and isinstance(message.id, str) and isinstance(message.name, str)
    return message if known and can_be_key(message.id) else None


def ids_of_followers(message: Message) -> list[str]:
    """Return the ids of the tasks that follow a message, in their order, up to the first that no storage can hold."""
    ids: list[str] = []
    following: Any = message.on_complete
    while isinstance(following, Message) and isinstance(following.id, str) and can_be_key(following.id):
        ids.append(following.id)
        following = following.on_complete
    return ids


def can_be_key(id: str) -> bool:
    """Whether every storage can use an id as a key. An id that comes out of a pickle may be any text."""
    return 0 < len(id) <= LONGEST_ID and "\0" not in id and make_text_sendable(id) == id
