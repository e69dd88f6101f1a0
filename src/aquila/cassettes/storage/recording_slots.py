"""How a recording of a cassette is identified, and which answers clients treat as failures.

Separate from ``merging``, because every replay needs this module, and no replay merges.
"""

from __future__ import annotations

from typing import TypeAlias

from aquila.cassettes.model import SWITCHED, RecordedResponse
from aquila.quick_records import NamedTuple

Slot: TypeAlias = tuple[str, int]
"""A key, and the position of a recording among those of that key."""

NO_ANSWER = "no answer"
"""What ``name_failure`` returns for a request that got no answer because the connection broke."""
TRANSIENT = frozenset({408, 409, 429, *range(500, 600)})
"""Statuses after which clients try again."""


def is_failure(response: RecordedResponse) -> bool:
    """Say whether clients try again after an answer. The last answer of a call then says how the call ended.

    A conversation over a WebSocket is no failure, however it ended: clients do not repeat it on another connection.
    """
    if response.status == SWITCHED:
        return False
    return response.status in TRANSIENT or response.end in ("broken", "silent")


def first_call_of(call: str) -> str:
    """Return the name of the call with which a program began what it tries again in ``call``; see ``NewRecording``."""
    return call.partition("/")[0]


def name_failure(response: RecordedResponse) -> str:
    """Return the name of a failure, for messages: its status, ``broken`` or ``no answer``. Empty for a success.

    This differs from ``is_failure``: a status such as 401 is a failure here, although no client tries again. An answer
    for which a program stopped waiting is none.
    """
    if response.end == "broken":
        return "broken" if response.has_begun else NO_ANSWER
    return str(response.status) if response.status >= 400 else ""


class RecordingPlayed(NamedTuple):
    """A recording that was played. The fields are as in ``merging.NewRecording``."""

    key: str
    position: int
    order: int

    @property
    def slot(self) -> Slot:
        """What identifies the recording in its cassette."""
        return self.key, self.position
