"""The words in which two texts differ, in bounded time.

Words are compared if they are few enough, else lines, and then the words of replaced lines. For texts that have next to
nothing in common, everything between their common beginning and end is one change.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

ChangeKind: TypeAlias = Literal["same", "removed", "added"]
Change: TypeAlias = tuple[ChangeKind, str]

_MOST_EDITS = 700
"""The greatest number of edits in one comparison, whose time grows with their square."""

_MOST_STEPS = 1_000_000
_UNSPACED = "\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORDS = re.compile(rf"\d{{1,20}}(?:[.,:]\d{{1,20}}){{1,8}}(?!\w)|[^\W{_UNSPACED}]{{1,64}}|[{_UNSPACED}]|\s+|[^\w\s]")
"""Numbers, words, white space, punctuation, and characters of scripts without spaces. They cover a text completely."""

_LINES = re.compile(r"[^\n]*\n|[^\n]+")


@dataclass
class Steps:
    """The work that is left for all comparisons that share this object. A million steps take about a second."""

    left: int = _MOST_STEPS


def word_changes(was: str, now: str, steps: Steps | None = None) -> list[Change]:
    """Return which words of a text were removed, and which were added.

    Args:
        was: The text before. Any characters, also halves of surrogate pairs.
        now: The text after.
        steps: The work that this comparison may do; what it does is subtracted. If none is left, everything between
            the common beginning and end of the texts is one change.

    Returns:
        Pieces in their order, none of them empty: ``("same", text)``, ``("removed", text)`` or ``("added", text)``,
        the removed before the added. The same and the removed pieces make ``was``, the same and the added make ``now``.
        Texts of a megabyte take about a second at most.
    """
    steps = steps or Steps()
    words = _WORDS.findall(was), _WORDS.findall(now)
    changes = _compare(*words, steps)
    if changes is None:
        changes = _compare_lines(_LINES.findall(was), _LINES.findall(now), steps)
    if changes is None:
        changes = _compare_ends(*words)
    return list(_join_over_spaces(_join(changes)))


def _compare_ends(was: list[str], now: list[str]) -> list[Change]:
    begin, end = _count_common_ends(was, now)
    return [
        ("same", "".join(was[:begin])),
        ("removed", "".join(was[begin : len(was) - end])),
        ("added", "".join(now[begin : len(now) - end])),
        ("same", "".join(was[len(was) - end :])),
    ]


def _compare_lines(was: list[str], now: list[str], steps: Steps) -> list[Change] | None:
    changes = _compare(was, now, steps)
    if changes is None:
        return None
    joined = list(_join(changes))
    refined: list[Change] = []
    budget = _MOST_EDITS
    for at, (kind, text) in enumerate(joined):
        before = joined[at - 1] if at else None
        if kind == "added" and before is not None and before[0] == "removed":
            inner = _compare(_WORDS.findall(before[1]), _WORDS.findall(text), steps, budget)
            if inner is not None:
                refined[-1:] = inner
                budget -= sum(kind != "same" for kind, _ in inner)
                continue
        refined.append((kind, text))
    return refined


def _count_common_ends(was: Sequence[str], now: Sequence[str]) -> tuple[int, int]:
    """Return how many tokens are equal at the beginning, and how many of the rest at the end."""
    shorter = min(len(was), len(now))
    begin = 0
    while begin < shorter and was[begin] == now[begin]:
        begin += 1
    end = 0
    while end < shorter - begin and was[-1 - end] == now[-1 - end]:
        end += 1
    return begin, end


def _compare(was: list[str], now: list[str], steps: Steps, most: int = _MOST_EDITS) -> list[Change] | None:
    """Return the changes between two lists of tokens, or None if there are more than ``most`` and neither is empty."""
    begin, end = _count_common_ends(was, now)
    middle = _find_edits(was[begin : len(was) - end], now[begin : len(now) - end], steps, most)
    if middle is None:
        return None
    same = [("same", "".join(was[:begin]))], [("same", "".join(was[len(was) - end :]))]
    return [*same[0], *middle, *same[1]]  # type: ignore[list-item]


def _find_edits(was: list[str], now: list[str], steps: Steps, most: int) -> list[Change] | None:
    """Return the shortest list of edits, by the algorithm of E. W. Myers (1986); None if there are more than ``most``.

    ``reached[k]`` is the furthest index in ``was`` that the present number of edits can reach on diagonal ``k``, which
    is the index in ``was`` minus the index in ``now``.
    """
    if not was or not now:
        return [*(("removed", token) for token in was), *(("added", token) for token in now)]
    counts = Counter(was), Counter(now)
    fewest = (counts[0] - counts[1]).total() + (counts[1] - counts[0]).total()
    if fewest > most or steps.left <= 0:
        return None
    reached = {1: 0}
    history: list[dict[int, int]] = []
    for edits in range(min(most, len(was) + len(now)) + 1):
        history.append(dict(reached))
        for diagonal in range(-edits, edits + 1, 2):
            down = diagonal == -edits or (diagonal != edits and reached[diagonal - 1] < reached[diagonal + 1])
            first = at = reached[diagonal + 1] if down else reached[diagonal - 1] + 1
            while at < len(was) and 0 <= at - diagonal < len(now) and was[at] == now[at - diagonal]:
                at += 1
            reached[diagonal] = at
            steps.left -= 1 + at - first
            if at >= len(was) and at - diagonal >= len(now):
                return list(_walk_back(was, now, history))[::-1]
        if steps.left <= 0:
            return None
    return None


def _walk_back(was: list[str], now: list[str], history: list[dict[int, int]]) -> Iterator[Change]:
    """Yield the edits from the last to the first."""
    at, other = len(was), len(now)
    for edits in range(len(history) - 1, -1, -1):
        reached, diagonal = history[edits], at - other
        down = diagonal == -edits or (diagonal != edits and reached[diagonal - 1] < reached[diagonal + 1])
        before = diagonal + 1 if down else diagonal - 1
        start = reached[before] if edits else 0
        begin = start if down or not edits else start + 1
        while at > begin and other > 0:
            at, other = at - 1, other - 1
            yield ("same", was[at])
        if edits and down:
            other -= 1
            yield ("added", now[other])
        elif edits:
            at -= 1
            yield ("removed", was[at])


def _join(changes: list[Change]) -> Iterator[Change]:
    """Join neighbours, so that between two equal pieces there is at most one removed and one added piece."""
    texts: dict[ChangeKind, list[str]] = {"same": [], "removed": [], "added": []}

    def take(*kinds: ChangeKind) -> Iterator[Change]:
        for kind in kinds:
            text = "".join(texts[kind])
            texts[kind].clear()
            if text:
                yield kind, text

    for kind, text in changes:
        if not text:
            continue
        yield from take("removed", "added") if kind == "same" else take("same")
        texts[kind].append(text)
    yield from take("same", "removed", "added")


def _join_over_spaces(changes: Iterator[Change]) -> Iterator[Change]:
    """Join replaced words that only white space separates, so that a rewritten sentence is one change, not twenty."""
    pieces = list(changes)
    open_kinds: set[ChangeKind] = set()
    result: list[Change] = []
    for at, (kind, text) in enumerate(pieces):
        if kind != "same":
            open_kinds.add(kind)
            result.append((kind, text))
            continue
        after = {kind for kind, _ in pieces[at + 1 : at + 3] if kind != "same"}
        if 0 < at < len(pieces) - 1 and text.isspace() and len(open_kinds | after) == 2:
            result += [("removed", text), ("added", text)]
        else:
            open_kinds = set()
            result.append((kind, text))
    return _join(result)
