"""Places of secrets in bytes: merging them, and replacing them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

PLACEHOLDER = b"[redacted]"
"""Stands in place of every secret, so that the requests of two developers stay equal."""


class FoundSecret(NamedTuple):
    """Bytes ``start`` to ``end`` are a secret of this ``kind``, to be replaced by ``replacement``."""

    start: int
    end: int
    kind: str
    replacement: bytes = PLACEHOLDER


def merge_found(spans: Iterable[FoundSecret]) -> list[FoundSecret]:
    """Sort places and join those that overlap or touch. A joint place is replaced once."""
    result: list[FoundSecret] = []
    for span in sorted(spans):
        if result and span.start <= result[-1].end:
            last = result[-1]
            # Only the first piece of a split secret has a replacement; the empty ones of the others give way.
            replacement = max(last.replacement, span.replacement, key=len)
            result[-1] = FoundSecret(last.start, max(last.end, span.end), last.kind, replacement)
        else:
            result.append(span)
    return result


def is_in_placeholder(data: bytes, start: int, end: int) -> bool:
    """Say whether the bytes from ``start`` to ``end`` are part of a placeholder."""
    at = data.find(PLACEHOLDER, max(0, end - len(PLACEHOLDER)), start + len(PLACEHOLDER))
    return at >= 0 and at <= start and end <= at + len(PLACEHOLDER)


def replace_found(data: bytes, spans: Sequence[FoundSecret], cuts: Sequence[int] = ()) -> tuple[bytes, list[int]]:
    """Replace merged places. Return the new bytes, and the new offsets of ``cuts``, which are sorted offsets.

    A cut inside a place falls at the same fraction of its replacement.
    """
    pieces: list[bytes] = []
    moved: list[int] = []
    waiting = iter(cuts)
    cut = next(waiting, None)
    done, length = 0, 0
    for span in (*spans, FoundSecret(len(data), len(data), "", b"")):
        while cut is not None and cut <= span.start:
            moved.append(length + cut - done)
            cut = next(waiting, None)
        length += span.start - done
        while cut is not None and cut < span.end:
            moved.append(length + (cut - span.start) * len(span.replacement) // (span.end - span.start))
            cut = next(waiting, None)
        pieces += (data[done : span.start], span.replacement)
        length += len(span.replacement)
        done = span.end
    return b"".join(pieces), moved
