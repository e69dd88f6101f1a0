"""Moves a message that the provider sends without being asked to the beginning of a conversation.

Milliseconds decide whether such a message comes before or after the first messages of the client. If it stayed at its
place, the order would change with each recording. And behind messages of the client, it could not be replayed to a
program that waits for it before it sends anything. Only the protocol says which messages come unasked: any other
message may be an answer to the client.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from aquila.cassettes.model import RecordedChunk
from aquila.cassettes.web_socket_frames.frame import Frame, NotAFrame, is_from_provider, parse_object, read_event

_UNASKED = frozenset({"session.created", "transcription_session.created"})
"""The ``type`` of messages that come unasked: those of OpenAI's Realtime API, which other providers have, too."""


def put_unasked_first(chunks: Sequence[RecordedChunk]) -> Sequence[RecordedChunk]:
    """Return the chunks of a conversation with an unasked message of the provider before those of the client."""
    place = next((place for place, chunk in enumerate(chunks) if is_from_provider(chunk)), 0)
    if place == 0 or not _is_unasked(chunks[place]):
        return chunks
    first = replace(chunks[place], at=min(chunks[0].at, chunks[place].at))
    return [first, *chunks[:place], *chunks[place + 1 :]]


def _is_unasked(chunk: RecordedChunk) -> bool:
    try:
        frame = read_event(chunk)
    except NotAFrame:
        return False
    kind = (parse_object(frame.data) or {}).get("type") if isinstance(frame, Frame) else None
    return isinstance(kind, str) and kind in _UNASKED
