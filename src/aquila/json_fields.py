"""Read fields of JSON of an unknown shape: a field of another type counts as an empty one."""

from __future__ import annotations

from typing import Any

MALFORMED = (ValueError, LookupError, TypeError, AttributeError, RecursionError)
"""What may be raised where JSON is read that has another form than its provider describes."""


def string(value: Any) -> str:
    """Return ``value`` if it is text, else an empty text."""
    return value if isinstance(value, str) else ""


def string_or_none(value: Any) -> str | None:
    """Return ``value`` if it is text, else None."""
    return value if isinstance(value, str) else None


def mapping(value: Any) -> dict[str, Any]:
    """Return ``value`` if it is an object, else an empty object."""
    return value if isinstance(value, dict) else {}


def mappings(value: Any) -> list[dict[str, Any]]:
    """Return the objects in ``value`` if it is a list, else an empty list."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
