"""Frames of conversations that are redacted each by itself, before they are redacted together.

In those whose bytes are stored as base64 nobody finds a secret afterwards. And what a client sends is a whole: nothing
of what it says next is the rest of a key, however it begins, and a replay compares each message alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from aquila.cassettes.frames.frame import Frame, NotAFrame, is_stored_readable, read_event, store_frame
from aquila.cassettes.model import RecordedChunk

if TYPE_CHECKING:
    from aquila.cassettes.redaction.found_secrets import SecretNumbers
    from aquila.cassettes.redaction.scrubber import Scrubber


def redact_single_frames(
    chunks: Sequence[RecordedChunk], scrubber: Scrubber, numbers: SecretNumbers
) -> Sequence[RecordedChunk]:
    """Return the chunks of a conversation without the secrets in such frames; the same object if there is none."""
    clean = [next(_redact_single(chunk, scrubber, numbers), chunk) for chunk in chunks]
    return tuple(clean) if any(one is not other for one, other in zip(clean, chunks, strict=True)) else chunks


def _redact_single(chunk: RecordedChunk, scrubber: Scrubber, numbers: SecretNumbers) -> Iterator[RecordedChunk]:
    """Yield what a chunk becomes, if it is such a frame and holds a secret."""
    if not chunk.data.startswith(b"event: "):
        return
    try:
        frame = read_event(chunk)
    except NotAFrame:
        return
    if isinstance(frame, Frame) and (frame.sent or not is_stored_readable(frame)):
        data, _ = scrubber.scrub_bytes(frame.data, numbers=numbers)
        if data != frame.data:
            yield store_frame(replace(frame, data=data))
