"""Puts the message first that a provider sends without being asked, whenever it came.

Milliseconds decide whether it comes before or after the first messages of the client. If it were stored where it came,
the order would change with each recording; and with the client's messages before it, a program that waits for it before
it sends anything could not be replayed. Only the protocol says which messages these are: any other message may be an
answer to the client.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from aquila.cassettes.model import RecordedChunk
from aquila.cassettes.web_socket_frames.frame import Frame, NotAFrame, is_from_provider, parse_object, read_event

_UNASKED = frozenset({"session.created", "transcription_session.created"})
"""The ``type`` of messages that come unasked: those of OpenAI's Realtime API, which other providers have, too."""


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
    except NotAFrame:
        return False
    kind = (parse_object(frame.data) or {}).get("type") if isinstance(frame, Frame) else None
    return isinstance(kind, str) and kind in _UNASKED
