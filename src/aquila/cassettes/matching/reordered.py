"""Finds requests that differ only in the order of what they hold: that of a set, or that in which threads finished."""

from __future__ import annotations

import re
import textwrap
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from aquila.cassettes.matching.body_lines import WIDTH
from aquila.cassettes.matching.difference import ABSENT, Difference, clip_around, dump_json
from aquila.cassettes.matching.json_path import with_any_index

_LONGEST = 200_000  # characters of all texts that are compared
_LONGEST_PATH = 60  # characters of a path that is shown
_WORD = re.compile(r"\d+(?:[.:]\d+)+|\w+|[^\w\s]")


def find_reordered(found: Sequence[Difference]) -> str | None:
    """Return a place whose words or elements are in another order, if that is all in which two requests differ.

    Elements of lists are named together, as ``tools[*].name``. Returns None if something else differs.
    """
    room = _LONGEST
    elements: defaultdict[str, list[Difference]] = defaultdict(list)
    for each in found:
        room -= sum(len(value) for value in (each.recorded, each.now) if isinstance(value, str))
        if room < 0 or not each.in_body:
            return None
        if not _have_same_words(each.recorded, each.now):
            elements[with_any_index(each.path)].append(each)
    if not found or not all(map(_have_same_values, elements.values())):
        return None
    return next(iter(elements), found[0].path)


def _have_same_words(one: Any, other: Any) -> bool:
    if not (isinstance(one, str) and isinstance(other, str)):
        return False
    words, others = _WORD.findall(one), _WORD.findall(other)
    return words != others and sorted(words) == sorted(others)


def _have_same_values(differences: Sequence[Difference]) -> bool:
    recorded, now = (
        sorted("" if value is ABSENT else dump_json(value) for value in values)
        for values in zip(*((each.recorded, each.now) for each in differences), strict=True)
    )
    return recorded == now


def write_order_remark(path: str) -> Iterator[str]:
    """Yield a remark on a field in another order, which no setting leaves out of the comparison."""
    yield ""
    place = clip_around(path, len(path), _LONGEST_PATH)
    yield from textwrap.wrap(
        f"{place} holds the same as the recording, in another order. If that order is new in every run, as of a set or "
        "of what threads or tasks finish first, recording again is not enough: sort it before the request is made.",
        WIDTH,
    )
