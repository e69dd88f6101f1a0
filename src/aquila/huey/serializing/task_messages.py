"""Checks the fields of the message of a task, and builds the message, as Huey reads it, from what anybody has sent."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from huey.registry import Message

from aquila.errors import MessageRejected

_NONE = type(None)
_TEXT_ALONE = {str}
# Without "args": Huey itself sends a value of any type there if `schedule` is called with something that is no tuple.
_FIELD_TYPES: dict[str, tuple[type, ...]] = {
    "id": (str,),
    "name": (str,),
    "eta": (datetime, _NONE),
    "retries": (int, float, _NONE),
    "retry_delay": (int, float, _NONE),
    "priority": (int, float, _NONE),
    "kwargs": (dict, _NONE),
    "on_complete": (Message, _NONE),
    "on_error": (Message, _NONE),
    "expires": (int, float, timedelta, datetime, _NONE),
    "expires_resolved": (datetime, _NONE),
    "timeout": (int, float, _NONE),
    "chord_config": (tuple, _NONE),
    "retry_backoff": (int, float, _NONE),
}

_ALLOWED_TYPES = tuple(_FIELD_TYPES.get(name) for name in Message._fields)

# A cache of the process: most tasks of a program have the same few types, and looking up one tuple is faster than
# checking each field. Never cleared, and bounded because whoever writes messages chooses them. `add` is atomic; two
# threads may exceed the bound by one.
accepted_kinds: set[tuple[type, ...]] = set()
"""The types of the fields of messages that were accepted, some of them. Ask ``find_odd_field`` about others."""
_MOST_ACCEPTED = 256


def build_message(fields: list[Any]) -> Any:
    """Return the message of a task from its fields. Raises ``MessageRejected`` for fields that no Huey sends."""
    if len(fields) > len(Message._fields):
        raise MessageRejected(
            f"a task message with {len(fields)} fields, where this Huey knows {len(Message._fields)}: "
            "it was sent by a newer Huey; update the workers first"
        )
    if tuple(map(type, fields)) not in accepted_kinds and (odd := find_odd_field(fields)):
        raise MessageRejected(f"not a message of this serializer: {odd}")
    # A named tuple of all its fields is made more quickly without its constructor, which looks for those left out.
    message: Any = tuple.__new__(Message, fields) if len(fields) == len(Message._fields) else Message(*fields)
    if message.name is None:
        raise MessageRejected("not a message of this serializer: a task without a name")
    if message.kwargs and {*map(type, message.kwargs)} != _TEXT_ALONE:
        raise MessageRejected("not a message of this serializer: a keyword of a task is not text")
    chord = message.chord_config
    if chord is not None and [type(part) for part in chord] != [str, int, int, Message]:
        raise MessageRejected("not a message of this serializer: the chord of a task is malformed")
    return message


def find_odd_field(fields: Sequence[Any]) -> str | None:
    """Return which field of a message is of a type that no worker accepts. None: the types join the accepted ones."""
    kinds = tuple(map(type, fields))
    for kind, name, allowed in zip(kinds, Message._fields, _ALLOWED_TYPES, strict=False):
        # Subclasses, because a True counts as 1, and freezegun makes datetimes of a class of its own.
        if allowed is not None and not issubclass(kind, allowed):
            return f"field {name!r} is {kind.__name__}"
    if len(accepted_kinds) < _MOST_ACCEPTED:
        accepted_kinds.add(kinds)
    return None
