"""Finds where a rule that is a function has changed a text. The function returns the new text, not the places.

The work is linear in the length of the text. The places may be longer than necessary; the text between them is
unchanged.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence

from aquila.cassettes.redaction.found_secrets import FoundSecret
from aquila.lazy_patterns import lazy_pattern

_WORD = lazy_pattern(r"\w+|\W")
_SAME_WORDS = 4
"""After this many equal words in a row, the two texts are taken to agree again."""

_SHORT = 64
"""The most words that are compared by ``difflib``, which finds small differences and takes more than linear time."""

_FIRST_STRETCH = 16  # words that are compared first where the texts begin to differ


def find_changes(function: Callable[[str], str], data: bytes) -> list[FoundSecret]:
    """Return the places in ``data`` that a function on its text changes, with their replacements, in order."""
    # "surrogateescape" keeps bytes that are not UTF-8 through decoding and encoding.
    before = data.decode("utf-8", "surrogateescape")
    after = function(before)
    if after == before:
        return []
    # Most of a text is unchanged. What is equal at both ends is skipped, back to the edge of a word.
    ahead = common_prefix_length(before, after)
    while ahead and (before[ahead - 1].isalnum() or before[ahead - 1] == "_"):
        ahead -= 1
    behind = common_prefix_length(before[ahead:][::-1], after[ahead:][::-1])
    while behind and (before[-behind].isalnum() or before[-behind] == "_"):
        behind -= 1
    old = _WORD.findall(before, ahead, len(before) - behind)
    new = _WORD.findall(after, ahead, len(after) - behind)
    found = []
    place, last = len(before[:ahead].encode("utf-8", "surrogateescape")), 0
    for start, end, first, stop in _differing_stretches(old, new):
        place += _size_of(old[last:start])
        length = _size_of(old[start:end])
        text = "".join(new[first:stop]).encode("utf-8", "surrogateescape")
        found.append(FoundSecret(place, place + length, "added rule", text))
        place, last = place + length, end
    return found


def _size_of(words: Sequence[str]) -> int:
    return len("".join(words).encode("utf-8", "surrogateescape"))


def common_prefix_length(one: Sequence[str], other: Sequence[str]) -> int:
    """Return how many characters two texts, or how many lines two lists of them, begin with in common."""
    # By bisection: slices are compared in C, so a few of them cost less than a loop over the characters.
    same, differing = 0, min(len(one), len(other)) + 1
    while differing - same > 1:
        middle = (same + differing) // 2
        if one[same:middle] == other[same:middle]:
            same = middle
        else:
            differing = middle
    return same


def _differing_stretches(old: Sequence[str], new: Sequence[str]) -> Iterator[tuple[int, int, int, int]]:
    """Yield the stretches in which the words differ: start and end in ``old``, start and end in ``new``."""
    a = b = 0
    while a < len(old) or b < len(new):
        if a < len(old) and b < len(new) and old[a] == new[b]:
            a, b = a + 1, b + 1
            continue
        skipped, added = _find_next_agreement(old, new, a, b)
        yield from _differences_within(old[a : a + skipped], new[b : b + added], a, b)
        a, b = a + skipped, b + added


def _differences_within(old: Sequence[str], new: Sequence[str], a: int, b: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield where two stretches differ, with ``a`` and ``b`` added to the offsets. Only short ones are compared."""
    if len(old) > _SHORT or len(new) > _SHORT:
        yield a, a + len(old), b, b + len(new)
        return
    for tag, start, end, first, stop in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag != "equal":
            yield a + start, a + end, b + first, b + stop


def _find_next_agreement(old: Sequence[str], new: Sequence[str], a: int, b: int) -> tuple[int, int]:
    """Return how many words of ``old`` from ``a`` on, and of ``new`` from ``b`` on, precede the next agreement.

    Compares stretches that double until they agree. So the time is proportional to what is skipped, and linear in all,
    because what is skipped is not compared again.
    """
    stretch = _FIRST_STRETCH
    while True:
        places: dict[tuple[str, ...], int] = {}
        for at in range(b, min(b + stretch, len(new) - _SAME_WORDS + 1)):
            places.setdefault(tuple(new[at : at + _SAME_WORDS]), at - b)
        nearest: tuple[int, int] | None = None
        for at in range(a, min(a + stretch, len(old) - _SAME_WORDS + 1)):
            added = places.get(tuple(old[at : at + _SAME_WORDS]))
            if added is not None and (nearest is None or at - a + added < sum(nearest)):
                nearest = at - a, added
        if nearest:
            return nearest
        if a + stretch >= len(old) and b + stretch >= len(new):
            return len(old) - a, len(new) - b
        stretch *= 2
