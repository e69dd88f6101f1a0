"""Redacts some frames of a conversation one by one, before all frames are redacted together as a stream.

These are the frames that are stored in base64, in which no later search would find a secret, and all frames of the
client. A client does not split a key over messages, and a replay compares each message by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from aquila.cassettes.body_file import StoredChunks
from aquila.cassettes.model import RecordedChunk
from aquila.cassettes.web_socket_frames.frame import (
    Frame,
    NotAFrame,
    is_in_base64,
    is_stored_readable,
    is_utf8,
    read_event,
    store_frame,
)

if TYPE_CHECKING:
    from aquila.cassettes.redaction.found_secrets import SecretNumbers
    from aquila.cassettes.redaction.scrubber import Scrubber


def redact_single_frames(
    chunks: Sequence[RecordedChunk], scrubber: Scrubber, numbers: SecretNumbers
) -> Sequence[RecordedChunk]:
    """Return the chunks of a conversation without the secrets in such frames; the same object if they hold none."""
    clean = [_redact_single(chunk, scrubber, numbers) for chunk in chunks]
    return tuple(clean) if any(one is not other for one, other in zip(clean, chunks, strict=True)) else chunks


def _redact_single(chunk: RecordedChunk, scrubber: Scrubber, numbers: SecretNumbers) -> RecordedChunk:
    """Return the chunk without its secrets if it is such a frame; the same object if it holds none."""
    if not chunk.data.startswith(b"event: "):  # a text of the provider's
        return chunk
    try:
        frame = read_event(chunk)
    except NotAFrame:
        return chunk
    if isinstance(frame, Frame) and (frame.sent or not is_stored_readable(frame)):
        data = scrub_message(frame.data, scrubber, numbers)
        if data != frame.data:
            return store_frame(frame._replace(data=data))
    return chunk


def scrub_message(data: bytes, scrubber: Scrubber, numbers: SecretNumbers | None = None) -> bytes:
    """Return a message without secrets. A binary message is searched where it has texts, like a large body."""
    return scrubber.scrub_bytes(data, numbers=numbers, large=not is_utf8(data))[0]


def scrub_readable(
    chunks: Sequence[RecordedChunk], scrub: Callable[[Sequence[RecordedChunk]], Sequence[RecordedChunk]]
) -> Sequence[RecordedChunk]:
    """Scrub the chunks of a conversation that are not in base64, all together. The same object if all are clean.

    Chunks in base64 were redacted one by one; searching their megabytes again would find nothing.
    """
    if isinstance(chunks, StoredChunks) or not any(map(is_in_base64, chunks)):
        return scrub(chunks)
    readable = [chunk for chunk in chunks if not is_in_base64(chunk)]
    clean = scrub(readable)
    if clean is readable:
        return chunks
    following = iter(clean)
    return tuple([chunk if is_in_base64(chunk) else next(following) for chunk in chunks])
