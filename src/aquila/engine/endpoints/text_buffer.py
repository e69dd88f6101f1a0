"""Text that grows piece by piece."""

from __future__ import annotations

_MOST_PIECES = 256


class TextBuffer:
    """Text put together from pieces, which do not stay in memory one by one.

    A list would keep an object for each of the many small pieces of a stream, and so does ``io.StringIO`` internally.
    """

    __slots__ = ("_joined", "_pieces")

    def __init__(self) -> None:
        self._joined: list[str] = []
        self._pieces: list[str] = []

    def write(self, piece: str) -> None:
        """Add a piece."""
        pieces = self._pieces
        pieces.append(piece)
        if len(pieces) >= _MOST_PIECES:
            self._joined.append("".join(pieces))
            pieces.clear()

    def getvalue(self) -> str:
        """Return the whole text."""
        return repair_surrogates("".join((*self._joined, *self._pieces)))


def repair_surrogates(text: str) -> str:
    """Return ``text`` as valid Unicode: surrogate pairs become characters, and single halves become U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
