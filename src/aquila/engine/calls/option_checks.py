"""The checks of single options: each returns the value that the engine works with, or raises.

A check raises ``TypeError`` or ``ValueError`` with a text that continues the words "option 'name'", which the caller
puts before it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from aquila.engine.calls.timeouts import Timeouts, check_seconds

Check: TypeAlias = Callable[[Any], Any]

_MAX_SHOWN = 60
"""Characters of a wrong value that a message shows."""


def accept_any(value: Any) -> Any:
    """Accept any value: it is checked where it is used."""
    return value


def instance_of(expected: type, *, what: str) -> Check:
    """Make a check for values of a type; ``what`` names it in the message."""

    def check_instance(value: Any) -> Any:
        # bool is a subclass of int, but nobody who writes True means the number 1.
        if not isinstance(value, expected) or (isinstance(value, bool) and expected is not bool):
            short = isinstance(value, (str, int, float, bool)) and len(str(value)) < _MAX_SHOWN
            raise TypeError(f"must be {what}, not {value!r}" if short else f"must be {what}")
        return value

    return check_instance


check_flag = instance_of(bool, what="True or False")
check_integer = instance_of(int, what="a whole number")


def check_text(value: Any) -> Any:
    """Accept text that is not blank."""
    if not isinstance(value, str):
        raise TypeError(f"must be text, not {type(value).__name__}")
    if not value.strip():
        raise ValueError("must not be empty")
    return value


def number_between(low: float, high: float) -> Check:
    """Make a check for numbers from ``low`` to ``high``, both included."""

    def check_number(value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
            raise TypeError(f"must be a number from {low:g} to {high:g}, not {value!r}")
        return value

    return check_number


def count_from(least: int) -> Check:
    """Make a check for whole numbers that are not below ``least``."""

    def check_count(value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise TypeError(f"must be a whole number of at least {least}, not {value!r}")
        return value

    return check_count


def one_of(*choices: str) -> Check:
    """Make a check for one of some words."""

    def check_choice(value: Any) -> Any:
        if value not in choices:
            raise ValueError(f"must be one of {', '.join(map(repr, choices))}, not {value!r}")
        return value

    return check_choice


def check_texts(value: Any) -> Any:
    """Accept a text, or a list or tuple of texts."""
    rows = [value] if isinstance(value, str) else value
    if not isinstance(rows, (list, tuple)) or not rows or not all(isinstance(row, str) and row for row in rows):
        raise TypeError(f"must be text or a list of texts, not {value!r}")
    return value if isinstance(value, str) else list(rows)


def check_mapping(value: Any) -> Any:
    """Accept a mapping with text as keys; return a copy, because the caller may change theirs while the call runs."""
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise TypeError(f"must be a mapping with text as keys, not {type(value).__name__}")
    return dict(value)


def check_body_fields(value: Any) -> Any:
    """Accept fields that are merged into the request's body."""
    value = check_mapping(value)
    if "stream" in value:
        raise ValueError("cannot set 'stream': every call is streamed underneath")
    return value


def check_tool_choice(value: Any) -> Any:
    """Accept a word, a tool's name or a dict; whether the tool exists is checked with the tools."""
    if not isinstance(value, (str, Mapping)):
        raise TypeError(f"must be 'auto', 'required', 'none', a tool's name or a dict, not {type(value).__name__}")
    return value


def check_timeout(value: Any) -> Any:
    """Return ``Timeouts``; a number is the longest silence in seconds."""
    return value if isinstance(value, Timeouts) else Timeouts(idle=check_seconds(value, "timeout"))


def check_reasoning(value: Any) -> Any:
    """Return a mapping with ``effort`` or ``summary``; text is an effort."""
    if isinstance(value, str):
        return {"effort": check_text(value)}
    value = check_mapping(value)
    unknown = value.keys() - {"effort", "summary"}
    if unknown:
        raise ValueError(f"has 'effort' and 'summary', and no {min(unknown)!r}")
    return value


def check_text_settings(value: Any) -> Any:
    """Accept the settings of the text that the model writes."""
    value = check_mapping(value)
    if "format" in value:
        raise ValueError("has no 'format' here; give response_format=")
    return value


def check_response_format(value: Any) -> Any:
    """Accept a pydantic model, or a dict in the form of the chat API."""
    if isinstance(value, Mapping):
        if not isinstance(value.get("type"), str):
            raise ValueError("needs a 'type', such as {'type': 'json_object'}, or give a pydantic model")
        return dict(value)
    if isinstance(value, type) and hasattr(value, "model_json_schema"):
        return value
    raise TypeError(f"must be a pydantic model or a dict, not {value!r}")
