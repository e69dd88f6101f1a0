"""Scrubs the frames of an Amazon event stream, with the texts of their payloads together: a secret may be split.

Lengths and checksums are computed again, so that clients read what is left.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence

from aquila.cassettes.redaction.found_secrets import FoundSecret
from aquila.cassettes.redaction.split_secrets.amazon_frames import (
    AmazonFrame,
    Payload,
    find_header_texts,
    read_frames,
    replace_header_texts,
    write_frame,
)

ScrubTexts = Callable[[bytes, Sequence[int], bool], tuple[bytes, Sequence[int]]]
"""Takes a text, offsets in it, and whether to search texts in pieces. Returns it clean, and the offsets moved."""


def find_changes_in_frames(data: bytes, scrub: ScrubTexts) -> list[FoundSecret]:
    """Return the frames that hold secrets, with what is to stand in their place, and what of the end is no frame."""
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
    """Return the texts as one, and where each stands in it.

    JSON is put on lines, where it is read faster. Other texts are parts of one.
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
    """Find the secrets of frames. The places of their parts are those of the frames they stand in."""
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
    """Return where the last frame ends that ends before a place, or 0."""
    return max((frame.end for frame in read_frames(data) if frame.end <= before), default=0)
