"""Finds out which job a message is that no worker here can execute.

A message whose task is not registered here can be read. Of one that cannot be read, the beginning may say which job it
claims to be.

Without a secret a worker does what any message says, and ends the job of any message whose task it does not know. So
the worker may also believe the beginning of a message that it cannot read as a whole. Such a message may be a pickle,
or come from a newer version, or from a producer that signs or compresses. In a queue with a secret a message that is
not signed correctly is not believed: otherwise anybody could end any job with it.

No object is built and no code of a message runs: of a pickle only the list of its operations is read.
"""

from __future__ import annotations

import pickletools
from typing import Any

from huey.registry import Message
from huey.serializer import Serializer

from aquila.huey.sendable_values import make_text_sendable
from aquila.huey.serializer import MsgpackSerializer

LONGEST_ID = 200
"""Characters of an id or a name that every storage can keep."""
_MOST_OPERATIONS = 40
"""Operations of a pickle that are looked at. Huey's ``Message`` is a named tuple whose first value is the id, so the id
is among the first of them."""
_OF_MESSAGE = ["huey.registry", "Message"]


def find_claimed_job(serializer: Any, data: bytes) -> tuple[str, str] | None:
    """Return the id of the job and the name of the task that a message claims. None where the message is not believed.

    ``serializer`` is that of the queue, and ``data`` is the message. Never raises.
    """
    if isinstance(serializer, MsgpackSerializer):
        found = serializer.read_beginning(data)
        if found is None and not serializer.signed:
            found = _read_pickle(data)
    else:
        # Huey's own serializer believes every pickle. A subclass may check a signature first, so its messages are not
        # believed unchecked: the exact type is compared.
        found = _read_pickle(data) if type(serializer) is Serializer else None
    return found if found is not None and all(map(_is_sound, found)) else None


def _is_sound(text: Any) -> bool:
    """Whether a value can be an id or a name in every storage. What a pickle holds may be anything."""
    return type(text) is str and 0 < len(text) <= LONGEST_ID and text.isprintable()


def _read_pickle(data: bytes) -> tuple[str, str] | None:
    # The first four texts are the module and the name of the class, the id and the name of the task.
    texts: list[str] = []
    try:
        for at, (operation, value, _) in enumerate(pickletools.genops(data)):
            if at > _MOST_OPERATIONS:
                return None
            if operation.name == "GLOBAL":  # Pickle protocols before 4 write module and class as one text.
                texts += str(value).split(" ")
            elif "UNICODE" in operation.name:
                texts.append(str(value))
            if len(texts) == 4:
                return (texts[2], texts[3]) if texts[:2] == _OF_MESSAGE else None
    except Exception:  # noqa: BLE001 -- any bytes may be given
        return None
    return None


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
