"""Finds, among many recordings, those most like a request: first roughly in all of them, for a bounded amount of work.

The rough likeness is how many small pieces of the request's body a recording's body holds, taken from places where the
recordings differ. Ten thousand recordings of 2 KB take some 50 ms.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Sequence
from functools import cache

from aquila.cassettes.model import Interaction, RecordedRequest

_PIECE = 12  # bytes
_PIECES = 96  # looked at
_SAMPLE = 32  # recordings that tell which pieces are common to all
_WORK = 150_000_000  # bytes to search through
_ENOUGH = 65_536  # bytes of a body at either end


def find_nearest_recordings(request: RecordedRequest, recordings: Sequence[Interaction], count: int) -> list[int]:
    """Return the positions of up to ``count`` recordings that are most like the request, the likest first.

    Same method and path come first, then likeness of the body, likeness of the URL, and a similar length.
    """
    bodies = [_both_ends(recording.request.body) for recording in recordings]
    pieces = _distinctive_pieces(_both_ends(request.body), bodies)
    method, path = request.method.upper(), _url_path(request.url)
    size = len(request.body)

    @cache
    def url_likeness(url: str) -> tuple[bool, int]:
        return _url_path(url) == path, len(_url_words(url) & _url_words(request.url))

    def rank_of(position: int) -> tuple[bool, int, int, int, int]:
        other, body = recordings[position].request, bodies[position]
        same_path, words = url_likeness(other.url)
        hits = 0
        for piece in pieces:
            if piece in body:
                hits += 1
        return (
            same_path and other.method.upper() == method,
            hits,
            words,
            -abs(len(other.body) - size),
            -position,
        )

    return heapq.nlargest(count, range(len(recordings)), key=rank_of)


def _both_ends(body: bytes) -> bytes:
    return body if len(body) <= 2 * _ENOUGH else body[:_ENOUGH] + body[-_ENOUGH:]


def _distinctive_pieces(body: bytes, bodies: Sequence[bytes]) -> list[bytes]:
    """Pieces of a body from all over it, without those that a sample of the others has in common."""
    step = max(1, (len(body) - _PIECE) // _PIECES)
    pieces = list(dict.fromkeys(body[at : at + _PIECE] for at in range(0, max(1, len(body) - _PIECE + 1), step)))
    sample = bodies[:: max(1, len(bodies) // _SAMPLE)]
    telling = [piece for piece in pieces if not all(piece in other for other in sample)]
    affordable = max(2, min(_PIECES, _WORK // (1 + sum(map(len, bodies)))))
    return telling[:: -(-len(telling) // affordable)] if telling else []


def _url_path(url: str) -> str:
    return url.partition("://")[2].partition("/")[2].partition("?")[0]


def _url_words(url: str) -> frozenset[str]:
    return frozenset(re.split(r"[/?&=]", url))
