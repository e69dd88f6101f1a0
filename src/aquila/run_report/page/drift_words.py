"""Compares the words of requests and recordings while the page is written.

The result is stored as lengths, because the data has the texts already.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeAlias

from aquila.run_report.schema import Text
from aquila.run_report.word_diff import Steps, word_changes

_Read: TypeAlias = Callable[[Text], str | None]

_SHORT, _SPACE = 40, re.compile(r"\s")
_CODES = {"same": 0, "removed": 1, "added": 2}


def add_words(drift: dict[str, Any], read: _Read, steps: Steps | None = None) -> dict[str, Any]:
    """Return a drift with the key ``words`` beside each pair of texts.

    Args:
        drift: A ``Drift`` of the schema.
        read: Gives the string of a ``Text``, or None where there is none.
        steps: The work that is left for all drifts of a page.

    Returns:
        A copy. ``prompt_words``, ``answer_words`` and the ``words`` of each change are lists of codes and lengths in
        turn: 0 for the same, 1 for removed, 2 for added; lengths are UTF-16 units, as JavaScript counts.
    """
    result = dict(drift)
    for name in ("prompt", "answer"):
        lengths = _measure(drift.get(f"{name}_was"), drift.get(f"{name}_now"), read, steps)
        if lengths is not None:
            result[f"{name}_words"] = lengths
    result["changes"] = [_add_to_change(change, read, steps) for change in drift.get("changes", ())]
    return result


def _add_to_change(change: dict[str, Any], read: _Read, steps: Steps | None) -> dict[str, Any]:
    values = [change.get("was"), change.get("now")]
    if all(isinstance(value, str) and len(value) < _SHORT and not _SPACE.search(value) for value in values):
        return change  # a number or a name is shown as a whole
    lengths = _measure(change.get("was"), change.get("now"), read, steps)
    return change if lengths is None else {**change, "words": lengths}


def _measure(was: Text | None, now: Text | None, read: _Read, steps: Steps | None) -> list[int] | None:
    if was is None or now is None:
        return None
    old, new = read(was), read(now)
    if old is None or new is None:
        return None
    return [number for kind, text in word_changes(old, new, steps) for number in (_CODES[kind], count_units(text))]


def count_units(text: str) -> int:
    """Count the UTF-16 units of a text."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2
