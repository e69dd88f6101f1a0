"""Texts with ``*`` for any characters, as tables and settings hold them.

Compared by hand: a table is asked about few different texts, and to compile it takes longer than the first test.
"""

from __future__ import annotations


def fits_pattern(text: str, pattern: str) -> bool:
    """Say whether a whole text is as a pattern says. ``*`` stands for any characters."""
    first, *others = pattern.split("*")
    if not others:
        return text == pattern
    *middle, last = others
    if not text.startswith(first):
        return False
    at = len(first)
    for part in middle:  # where each comes first is best: it leaves the most to those behind it
        found = text.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    return len(text) - at >= len(last) and text.endswith(last)
