"""Places of secrets in bytes: merging them, numbering them, and replacing them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from aquila.quick_records import NamedTuple

PLACEHOLDER = b"[redacted]"
"""Stands in place of a secret, so that the requests of two developers with different keys stay equal."""
PLACEHOLDER_IN_URL = b"%5Bredacted%5D"
"""The same in a URL."""

_PLACEHOLDER = rb"\[redacted(?:-[0-9]+)?\]"
_LONGEST = len(PLACEHOLDER) + 20  # bytes, with the longest number
_IN_TEXT = r"(\[|%5B)redacted(?:-[0-9]+)?(\]|%5D)"


class FoundSecret(NamedTuple):
    """Bytes ``start`` to ``end`` are a secret of this ``kind``, to be replaced by ``replacement``.

    ``value`` is the secret without the escapes with which it is written. If empty, it is the bytes themselves.
    """

    start: int
    end: int
    kind: str
    replacement: bytes = PLACEHOLDER
    value: bytes = b""

    def __repr__(self) -> str:
        return f"<FoundSecret: {self.kind}, {self.start} to {self.end}>"


class SecretNumbers:
    """Numbers the secrets of one request and its answer, in the order in which they appear first.

    The first becomes ``[redacted]``, the second ``[redacted-2]``. So two secrets differ from one secret used twice, and
    a request stays the same when a key is rotated or belongs to another developer. Holds the secrets themselves, in
    memory only, and lives as long as the recording of one exchange.
    """

    __slots__ = ("_numbers",)

    def __init__(self) -> None:
        self._numbers: dict[bytes, int] = {}

    def __repr__(self) -> str:
        return f"<SecretNumbers: {len(self._numbers)}>"  # the values are secrets

    @property
    def values(self) -> tuple[bytes, ...]:
        """The secrets in the order of their numbers."""
        return tuple(self._numbers)

    def placeholder_for(self, value: bytes) -> bytes:
        """Return what stands in place of a secret."""
        number = self._numbers.setdefault(value, len(self._numbers) + 1)
        return PLACEHOLDER if number == 1 else b"[redacted-%d]" % number

    def number_found(self, data: bytes, spans: Sequence[FoundSecret]) -> list[FoundSecret]:
        """Return merged places with numbered placeholders."""
        return [
            span._replace(replacement=self.placeholder_for(span.value or data[span.start : span.end]))
            if span.replacement == PLACEHOLDER
            else span
            for span in spans
        ]


def number_placeholders_anew(text: str) -> str:
    """Return a text whose placeholders are numbered in the order in which they appear first in it."""
    numbers: dict[str, int] = {}

    def renumber(match: re.Match[str]) -> str:
        number = numbers.setdefault(match[0].replace("%5B", "[").replace("%5D", "]"), len(numbers) + 1)
        return f"{match[1]}redacted{f'-{number}' if number > 1 else ''}{match[2]}"

    return re.sub(_IN_TEXT, renumber, text)


def without_numbers(text: str) -> str:
    """Return a text whose placeholders are all the same."""
    return re.sub(_IN_TEXT, r"\1redacted\2", text)


def merge_found(spans: Iterable[FoundSecret]) -> list[FoundSecret]:
    """Sort places and join those that overlap or touch. A joint place is replaced once."""
    result: list[FoundSecret] = []
    for span in sorted(spans):
        if result and span.start <= result[-1].end:
            last = result[-1]
            # Of a split secret only the first piece has a replacement. The empty replacements of the others must not
            # win over a placeholder.
            replacement = max(last.replacement, span.replacement, key=len)
            if span[:2] == last[:2]:
                # One of them may have been found where the other is encoded. What is decoded is shorter.
                value = min(filter(None, (last.value, span.value)), key=len, default=b"")
            elif span.end <= last.end:
                value = last.value
            else:
                value = span.value if span.start == last.start else b""
            result[-1] = FoundSecret(last.start, max(last.end, span.end), last.kind, replacement, value)
        else:
            result.append(span)
    return result


def holds_placeholder(data: bytes) -> bool:
    """Say whether a body or a URL holds a placeholder, in URLs also with percent-encoded brackets."""
    return re.search(_IN_TEXT.encode(), data) is not None


def escape_placeholders(data: bytes) -> bytes:
    """Percent-encode the brackets of placeholders, for URLs."""
    return re.sub(_PLACEHOLDER, lambda match: b"%5B" + match[0][1:-1] + b"%5D", data)


def is_in_placeholder(data: bytes, start: int, end: int) -> bool:
    """Say whether the bytes from ``start`` to ``end`` are part of a placeholder."""
    places = re.compile(_PLACEHOLDER).finditer(data, max(0, end - _LONGEST), start + _LONGEST)
    return any(match.start() <= start and end <= match.end() for match in places)


def replace_found(data: bytes, spans: Sequence[FoundSecret], cuts: Sequence[int] = ()) -> tuple[bytes, list[int]]:
    """Replace secrets. Return the new bytes, and where the offsets ``cuts`` are in them.

    ``spans`` are merged places, ``cuts`` sorted offsets such as ends of chunks. A cut inside a secret moves to the same
    fraction of its replacement, so that each chunk keeps a part.
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
