"""Finds the marks that git writes into a file in which two branches changed the same lines."""

from __future__ import annotations

import re
from typing import NamedTuple

from aquila.cassettes.codecs.yaml.tree import is_ours
from aquila.lazy_patterns import lazy_pattern
from aquila.shell_words import quote_word

_SIGNS = b"<|=>"
_MARK = lazy_pattern(rb"^(?:\xef\xbb\xbf)?(?P<sign>[<|=>])(?P=sign){6}(?=[ \r\n]|\Z)", re.MULTILINE)
"""A mark at the beginning of a line. Bodies of Aquila cannot have it there: their text is indented."""
_WHOLE = lazy_pattern(r"(?:<\|?=>)+")
_MOST_NAMED = 10
"""The most lines that a message names."""


class Conflict(NamedTuple):
    """The marks of conflicts in a file.

    ``line`` is the number of the line of the first mark, and ``what`` says what is wrong. ``is_whole`` says that no
    mark of any conflict is missing: nobody has begun to resolve them.
    """

    line: int
    what: str
    is_whole: bool

    def advise(self, source: str) -> str:
        """Return what to do about a conflict in the cassette ``source``."""
        file = quote_word(source)
        merge = f"aquila cassettes install-merge-driver; git checkout --merge {file}; git add {file}"
        if self.is_whole:
            return (
                f"Merge them by request: {merge}. Or take one side: git checkout --ours {file} (or --theirs), and "
                "record again what is missing"
            )
        return f"Delete what is left of the conflict, and look at the recordings around it; or merge anew: {merge}"


def find_conflict(data: bytes) -> Conflict | None:
    """Return the marks of conflicts in a text file, or None.

    The first may be in the first line, if the two versions have different formats.
    """
    # Nearly all files have none of them, which this finds out faster than the pattern.
    if not any(bytes((sign,)) * 7 in data for sign in _SIGNS):
        return None
    lines: list[int] = []
    marks = ""
    at = 0
    for mark in _MARK.finditer(data):
        lines.append((lines[-1] if lines else 1) + data.count(b"\n", at, mark.start()))
        at = mark.start()
        marks += mark["sign"].decode()
    # In a text of another recorder that goes over several lines, a line of equals signs may be an underline.
    if not marks or (set(marks) == {"="} and not is_ours(data)):
        return None
    if _WHOLE.fullmatch(marks):
        what = "git conflict: two branches changed this file, and both versions are in it"
        return Conflict(lines[0], what, is_whole=True)
    left, *others = [f"{sign * 7!r}" for sign in marks]
    named = [f"{each} in line {line}" for each, line in zip(others, lines[1:_MOST_NAMED], strict=False)]
    more = f", and so is {', '.join(named)}" if named else ""
    more += ", …" if len(lines) > _MOST_NAMED else ""
    return Conflict(lines[0], f"{left} of a git conflict is left here{more}", is_whole=False)
