"""Scrubs the frames of an Amazon event stream. Their payloads are searched together, because a secret may be split.

Lengths and checksums are computed again, so that clients accept the changed frames.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence

from aquila.cassettes.amazon_frames import (
    AmazonFrame,
    Payload,
    find_header_texts,
    read_frames,
    replace_header_texts,
    write_frame,
)
from aquila.cassettes.redaction.found_secrets import FoundSecret

ScrubTexts = Callable[[bytes, Sequence[int], bool], tuple[bytes, Sequence[int]]]
"""A function of a text, offsets in it, and whether it has texts in pieces. Returns the clean text and its offsets."""


def find_changes_in_frames(data: bytes, scrub: ScrubTexts) -> list[FoundSecret]:
    """Return a replacement for each frame with secrets, and for the bytes behind the last frame if they have some."""
    frames = list(read_frames(data))
    payloads = [Payload(frame.payload) for frame in frames]
    texts = _scrub_together([payload.text for payload in payloads], scrub)
    changes = []
    for frame, payload, text in zip(frames, payloads, texts, strict=True):
        headers = _scrub_headers(frame.headers, scrub)
        first, second = (scrub(part, (), False)[0] for part in payload.around)
        if (headers, text, (first, second)) != (frame.headers, payload.text, payload.around):
            written = write_frame(frame, headers, payload.with_text(text, (first, second)))
            changes.append(FoundSecret(frame.start, frame.end, "a secret in a frame", written))
    end = frames[-1].end if frames else 0
    rest, _ = scrub(data[end:], (), False)
    if rest != data[end:]:
        changes.append(FoundSecret(end, len(data), "a secret behind the frames", rest))
    return changes


def _scrub_together(texts: Sequence[bytes], scrub: ScrubTexts) -> Iterator[bytes]:
    body, places = _join(texts)
    clean, moved = scrub(body, list(itertools.chain(*places)), True)
    return (clean[start:end] for start, end in zip(moved[::2], moved[1::2], strict=True))


def _join(texts: Sequence[bytes]) -> tuple[bytes, list[tuple[int, int]]]:
    """Join texts. Return the joined text, and start and end of each text in it.

    If all texts are JSON objects, each gets a line, because events on lines are read faster. Other texts are parts of
    one text, and joined without anything between them.
    """
    separator = b"\n" if all(text[:1] == b"{" and b"\n" not in text for text in texts) else b""
    ends = list(itertools.accumulate(len(text) + len(separator) for text in texts))
    places = [(end - len(separator) - len(text), end - len(separator)) for end, text in zip(ends, texts, strict=True)]
    return separator.join(texts), places


def _scrub_headers(headers: bytes, scrub: ScrubTexts) -> bytes:
    places = find_header_texts(headers)
    texts = [headers[start:end] for start, end in places]
    clean = [scrub(text, (), False)[0] for text in texts]
    return headers if clean == texts else replace_header_texts(headers, places, clean)


def find_in_frames(
    data: bytes, find: Callable[[bytes], list[FoundSecret]], find_split: Callable[[bytes], list[list[FoundSecret]]]
) -> list[list[FoundSecret]]:
    """Find the secrets in frames. A place is that of a whole frame: a frame can only be handed on as a whole."""
    frames = list(read_frames(data))
    body, places = _join([Payload(frame.payload).text for frame in frames])
    starts = [start for start, _ in places]
    found = [
        sorted([placed for part in parts for placed in _place_in_frames(part, frames, starts)])
        for parts in (*([one] for one in find(body)), *find_split(body))
    ]
    in_headers = [
        [one._replace(start=frame.start, end=frame.end)] for frame in frames for one in find(frame.headers)[:1]
    ]
    return found + in_headers


def _place_in_frames(part: FoundSecret, frames: Sequence[AmazonFrame], starts: Sequence[int]) -> Iterator[FoundSecret]:
    for number in {bisect_right(starts, part.start) - 1, bisect_right(starts, part.end - 1) - 1}:
        yield part._replace(start=frames[number].start, end=frames[number].end)


def end_of_frame(data: bytes, before: int) -> int:
    """Return the largest end of a frame that is not behind an offset; 0 if there is none."""
    return max((frame.end for frame in read_frames(data) if frame.end <= before), default=0)
