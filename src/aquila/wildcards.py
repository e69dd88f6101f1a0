"""Compares texts with patterns in which ``*`` stands for any characters, as tables and settings have them.

Not with regular expressions: a run asks about few texts, and compiling a table takes longer than all comparisons.
"""

from __future__ import annotations


def fits_pattern(text: str, pattern: str) -> bool:
    """Say whether a pattern, in which ``*`` stands for any characters, matches a whole text."""
    first, *others = pattern.split("*")
    if not others:
        return text == pattern
    *middle, last = others
    if not text.startswith(first):
        return False
    at = len(first)
    for part in middle:  # the first occurrence of each part leaves the most text for the parts behind it
        found = text.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    return len(text) - at >= len(last) and text.endswith(last)
