"""Which recording of a cassette is meant, and which answers clients treat as failures.

A module apart from ``merging``, because every replay needs this, and no replay merges.
"""

from __future__ import annotations

from typing import TypeAlias

from aquila.cassettes.model import SWITCHED, RecordedResponse
from aquila.quick_records import NamedTuple

Slot: TypeAlias = tuple[str, int]
"""A key, and the position of a recording among those of that key."""

NO_ANSWER = "no answer"
"""What ``name_failure`` calls it that nothing has answered."""
TRANSIENT = frozenset({408, 409, 429, *range(500, 600)})
"""Statuses after which clients try again."""


def is_failure(response: RecordedResponse) -> bool:
    """Return whether clients try again after an answer, so that only the last answer says how their call ended.

    A conversation is no failure, however it ended: clients do not repeat it on another connection.
    """
    if response.status == SWITCHED:
        return False
    return response.status in TRANSIENT or response.end in ("broken", "silent")


def name_failure(response: RecordedResponse) -> str:
    """Return what people call an answer that is no success: its status, ``broken`` or ``no answer``. Else empty.

    Unlike ``is_failure`` it names a 401, which no client tries again, and not that a program stopped waiting.
    """
    if response.end == "broken":
        return "broken" if response.has_begun else NO_ANSWER
    return str(response.status) if response.status >= 400 else ""


class RecordingPlayed(NamedTuple):
    """A recording that was played; the fields are those of ``NewRecording``."""

    key: str
    position: int
    order: int

    @property
    def slot(self) -> Slot:
        """What identifies the recording in its cassette."""
        return self.key, self.position
