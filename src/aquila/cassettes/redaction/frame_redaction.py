"""Frames of conversations whose bytes are stored as base64, in which nobody finds a secret afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from aquila.cassettes.frames.frame import Frame, NotAFrame, is_stored_readable, read_frames, store_frame
from aquila.cassettes.model import RecordedChunk

if TYPE_CHECKING:
    from aquila.cassettes.redaction.found_secrets import SecretNumbers
    from aquila.cassettes.redaction.scrubber import Scrubber


def redact_hidden_frames(
    chunks: Sequence[RecordedChunk], scrubber: Scrubber, numbers: SecretNumbers
) -> Sequence[RecordedChunk]:
    """Return the chunks of a conversation without the secrets in such frames; the same object if there is none."""
    clean = [next(_redact_hidden(chunk, scrubber, numbers), chunk) for chunk in chunks]
    return tuple(clean) if any(one is not other for one, other in zip(clean, chunks, strict=True)) else chunks


def _redact_hidden(chunk: RecordedChunk, scrubber: Scrubber, numbers: SecretNumbers) -> Iterator[RecordedChunk]:
    """Yield what a chunk becomes, if it is a frame that holds a secret in base64."""
    if not chunk.data.startswith(b"event: "):
        return
    try:
        (frame,) = read_frames([chunk])
    except NotAFrame:
        return
    if isinstance(frame, Frame) and not is_stored_readable(frame):
        data, _ = scrubber.scrub_bytes(frame.data, numbers=numbers)
        if data != frame.data:
            yield store_frame(replace(frame, data=data))
