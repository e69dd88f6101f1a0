"""Of which job a message says to be that cannot be read, in a queue where every message is believed.

Without a secret a worker does what any message says, and ends any job whose task it does not know. So it may believe a
message that it cannot read in whole, too: one of a newer version, one that a producer signs or compresses, a pickle.
Where messages are signed, what is not signed as it should be counts for nothing: anybody could end any job by it.

Nothing is built, and no code of a message runs: of a pickle only the list of its operations is read.
"""

from __future__ import annotations

import pickletools
from typing import Any

from huey.serializer import Serializer

from aquila.huey.serializer import MsgpackSerializer

LONGEST_ID = 200
"""Characters of an id or a name that every storage can keep."""
_MOST_OPERATIONS = 40
"""Operations of a pickle that are looked at: the id is the first value of a message."""
_OF_MESSAGE = ["huey.registry", "Message"]


def find_claimed_job(serializer: Any, data: bytes) -> tuple[str, str] | None:
    """Return the id and the name of the task that a message says to be, where it is believed and says so."""
    if isinstance(serializer, MsgpackSerializer):
        found = serializer.read_beginning(data)
        if found is None and not serializer.signed:
            found = _read_pickle(data)
    else:
        # Huey's own believes everything; of one that checks something first nothing is known.
        found = _read_pickle(data) if type(serializer) is Serializer else None
    return found if found is not None and all(map(_is_sound, found)) else None


def _is_sound(text: Any) -> bool:
    """Whether a text can be an id or a name: a pickle holds texts that no storage can."""
    return type(text) is str and 0 < len(text) <= LONGEST_ID and text.isprintable()


def _read_pickle(data: bytes) -> tuple[str, str] | None:
    texts: list[str] = []
    try:
        for at, (operation, value, _) in enumerate(pickletools.genops(data)):
            if at > _MOST_OPERATIONS:
                return None
            if operation.name == "GLOBAL":  # of older protocols: both in one
                texts += str(value).split(" ")
            elif "UNICODE" in operation.name:
                texts.append(str(value))
            if len(texts) == 4:
                return (texts[2], texts[3]) if texts[:2] == _OF_MESSAGE else None
    except Exception:  # noqa: BLE001 -- any bytes may be given
        return None
    return None
