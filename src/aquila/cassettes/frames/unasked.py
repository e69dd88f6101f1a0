"""What a provider says first, whatever the client does: it is stored first, whenever it came.

Its place among the first messages of the client is a matter of milliseconds. Stored as it fell, a conversation that is
recorded again would have another order, and a program that waits for it could not be replayed after one that does not.
Only protocols say which messages these are: of any other it is not known whether the client had to speak before it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from aquila.cassettes.frames.frame import Frame, NotAFrame, is_from_provider, read_event
from aquila.cassettes.model import RecordedChunk

_UNASKED = frozenset({"session.created", "transcription_session.created"})
"""The ``type`` of messages that come unasked, and first: those of OpenAI's Realtime API and of whoever speaks it."""


def put_unasked_first(chunks: Sequence[RecordedChunk]) -> Sequence[RecordedChunk]:
    """Return the chunks of a conversation with what the provider says unasked before what the client says."""
    place = next((place for place, chunk in enumerate(chunks) if is_from_provider(chunk)), 0)
    if place == 0 or not _is_unasked(chunks[place]):
        return chunks
    first = replace(chunks[place], at=min(chunks[0].at, chunks[place].at))
    return [first, *chunks[:place], *chunks[place + 1 :]]


def _is_unasked(chunk: RecordedChunk) -> bool:
    try:
        frame = read_event(chunk)
        value = json.loads(frame.data) if isinstance(frame, Frame) else None
    except (NotAFrame, ValueError, RecursionError):
        return False
    return isinstance(value, dict) and value.get("type") in _UNASKED
