"""What made-up values are taken for."""

from __future__ import annotations


def is_number(value: str) -> bool:
    """Whether a text is a number. A secret that is one is redacted as one."""
    try:
        float(value)
    except ValueError:
        return False
    return True
