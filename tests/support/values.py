"""Classifies the made-up secrets of tests."""

from __future__ import annotations


def is_number(value: str) -> bool:
    """Whether ``value`` is a number. Redaction treats a secret that is a number differently."""
    try:
        float(value)
    except ValueError:
        return False
    return True
