"""Counts with their nouns, and lists of words, in the form that all messages have."""

from __future__ import annotations

from collections.abc import Sequence


def count_of(number: int, noun: str) -> str:
    """Return a number with its noun: ``1 recording``, ``2 recordings``. The noun is given in the singular."""
    return number_of(number, noun, f"{noun}s")


def number_of(number: int, one: str, several: str) -> str:
    """Return a number with the words that follow it: ``1 test misses``, ``2 tests miss``."""
    return f"{number:,} {one if number == 1 else several}"


def join_with_and(words: Sequence[str]) -> str:
    """Join words as a sentence does: ``a, b and c``."""
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))
