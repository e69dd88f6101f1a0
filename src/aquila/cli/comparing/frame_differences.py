"""Finds the fields in which two conversations with the same transcript differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from aquila.cassettes.answers.transcript import read_object
from aquila.cassettes.web_socket_frames.frame import Close, Frame

_MOST_FIELDS = 8


def describe_hidden_differences(one: Sequence[Frame | Close], other: Sequence[Frame | Close]) -> str:
    """Return a sentence about the differences of two conversations with the same transcript, mostly new ids."""
    frames, others = ([each for each in said if isinstance(each, Frame)] for said in (one, other))
    # The transcripts are equal, so both have the same number of messages in the same order.
    changed = [(a, b) for a, b in zip(frames, others, strict=False) if (a.data, a.is_text) != (b.data, b.is_text)]
    fields = Counter(path for a, b in changed for path in _fields_between(a, b))
    named = [f"{path} x {count:,}" if count > 1 else path for path, count in fields.most_common(_MOST_FIELDS)]
    more = [f"{len(fields) - _MOST_FIELDS} more"] if len(fields) > _MOST_FIELDS else []
    if not named:
        return "the transcript is the same, and only white space or the order of keys differs in the JSON of messages"
    return f"the transcript is the same, and only these fields differ: {', '.join([*named, *more])}"


def _fields_between(one: Frame, other: Frame) -> set[str]:
    a, b = read_object(one), read_object(other)
    if a is None or b is None or one.is_text != other.is_text:
        return {"the bytes of messages that are not JSON"}
    return set(_differing_paths(a, b, ""))


def _differing_paths(one: Any, other: Any, path: str) -> Iterator[str]:
    """Yield the paths of differing values. All items of a list share one path."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in one.keys() | other.keys():
            inner = f"{path}.{key}" if path else key
            if key in one and key in other:
                yield from _differing_paths(one[key], other[key], inner)
            else:
                yield inner
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for a, b in zip(one, other, strict=True):
            yield from _differing_paths(a, b, f"{path}[*]")
    elif one != other or type(one) is not type(other):
        yield path
