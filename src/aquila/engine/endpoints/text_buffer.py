"""Text that grows piece by piece."""

from __future__ import annotations

_MOST_PIECES = 256


class TextBuffer:
    """Text put together from pieces. A long stream's pieces do not stay in memory as objects of their own.

    Neither a list of pieces does that, nor ``io.StringIO``, which keeps such a list inside.
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
        """The whole text."""
        return repair_surrogates("".join((*self._joined, *self._pieces)))


def repair_surrogates(text: str) -> str:
    """Return text that can be sent: halves of a character that came apart are put together, or replaced."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
