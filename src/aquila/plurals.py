"""Counts with their nouns, as all messages write them."""

from __future__ import annotations


def count_of(number: int, noun: str) -> str:
    """Return a number with its noun: ``1 recording``, ``2 recordings``. The noun is given in the singular."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
