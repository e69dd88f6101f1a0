"""Lists where two canonical requests differ, and writes the two values so that people can see the difference."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from aquila.cassettes.matching.canonical_json import parse_canonical
from aquila.cassettes.matching.request_key import CanonicalRequest
from aquila.cassettes.matching.uploaded_file import UploadedFile, read_data_url
from aquila.cassettes.redaction.text_changes import common_prefix_length

ABSENT: Final = object()
"""Stands for a value that only the other side has."""

LONGEST_PATH = 60
"""The characters of a path that a message shows. A longer one is cut."""
_MOST = 1000  # differences that are listed
_DEEPEST = 64  # levels of JSON that are compared value by value, far from Python's recursion limit; deeper ones as text
_WEIGHED = 50  # differences that are weighed one by one; each further difference weighs 1
_PLAIN_KEY = re.compile(r"[^.\[\]*'\"\s<>]+")


@dataclass(frozen=True, slots=True)
class Difference:
    """One place where two requests differ, with the value on each side. A value may be ``ABSENT``.

    ``in_body`` says that the place is in the body. ``path`` is then in the form of the setting ``ignore``.
    """

    path: str
    recorded: Any
    now: Any
    in_body: bool = False


def find_differences(recorded: CanonicalRequest, now: CanonicalRequest) -> list[Difference]:
    """List the places where two requests differ: first the parts of the request, then the body from top to bottom."""
    found = [
        Difference(name, a, b)
        for name, a, b in (
            ("method", recorded.method, now.method),
            ("scheme", recorded.scheme, now.scheme),
            ("host", recorded.host, now.host),
            ("path", recorded.path, now.path),
        )
        if a != b
    ]
    found += _compare_pairs("query", recorded.query, now.query)
    found += _compare_pairs("header", recorded.headers, now.headers)
    if recorded.kind != now.kind and "none" not in (recorded.kind, now.kind):
        found.append(Difference("body", _kind_of(recorded), _kind_of(now)))
    elif now.kind in ("form", "multipart"):
        found += _compare_fields(recorded.body, now.body)
    elif now.kind in ("text", "bytes") and recorded.body != now.body:
        found.append(Difference("body", recorded.body, now.body))
    elif now.kind == "json":
        found += itertools.islice(_compare_json("", recorded.body, now.body), _MOST)
    return found


_KINDS_OF_BODIES = {"json": "JSON", "form": "a form", "bytes": "binary or large data"}


class _BodyKind(str):
    """The name of a kind of body, shown without quotes."""

    __slots__ = ()


def _kind_of(request: CanonicalRequest) -> _BodyKind:
    """Return the kind of a body. For a text that begins like JSON, add where it stops being valid JSON."""
    if request.kind != "text" or request.body.lstrip()[:1] not in ("{", "["):
        return _BodyKind(request.kind)
    try:
        parse_canonical(request.body)
    except json.JSONDecodeError as error:
        why = f"not valid JSON at line {error.lineno}, column {error.colno}: {error.msg}"
    except RecursionError:
        why = "JSON that is nested too deeply to be compared"
    except ValueError as error:
        why = f"not valid JSON: {error}"
    else:
        return _BodyKind(request.kind)
    return _BodyKind(f"text, {why}")


def _compare_pairs(part: str, recorded: Any, now: Any) -> Iterator[Difference]:
    one: dict[str, list[str]] = {}
    other: dict[str, list[str]] = {}
    for pairs, values in ((recorded, one), (now, other)):
        for name, value in pairs or ():
            values.setdefault(name, []).append(value)
    for name in dict.fromkeys((*one, *other)):
        a, b = one.get(name), other.get(name)
        if a != b:
            yield Difference(f"{part} {name}", _unwrap_single(a), _unwrap_single(b))


def _unwrap_single(values: list[Any] | None) -> Any:
    return ABSENT if values is None else values[0] if len(values) == 1 else values


def _compare_fields(recorded: dict[str, list[Any]], now: dict[str, list[Any]]) -> Iterator[Difference]:
    for name in dict.fromkeys((*recorded, *now)):
        a, b = recorded.get(name), now.get(name)
        if a != b:
            yield Difference(_append_step("", name), _unwrap_single(a), _unwrap_single(b), in_body=True)


def _append_step(path: str, key: str) -> str:
    if _PLAIN_KEY.fullmatch(key):
        return f"{path}.{key}" if path else key
    quote = "'" if "'" not in key else '"'
    return f"{path}[{quote}{key}{quote}]"


def _compare_json(path: str, recorded: Any, now: Any, depth: int = 0) -> Iterator[Difference]:
    if depth > _DEEPEST and isinstance(recorded, dict | list) and isinstance(now, dict | list):
        if not _are_equal(recorded, now):
            yield Difference(path, recorded, now, in_body=True)
    elif isinstance(recorded, dict) and isinstance(now, dict):
        for key in dict.fromkeys((*recorded, *now)):
            yield from _compare_json(
                _append_step(path, key), recorded.get(key, ABSENT), now.get(key, ABSENT), depth + 1
            )
    elif isinstance(recorded, list) and isinstance(now, list):
        yield from _compare_lists(path, recorded, now, depth)
    elif type(recorded) is not type(now) or recorded != now:  # the types, because True == 1 in Python
        yield Difference(path or "body", recorded, now, in_body=bool(path))


def _compare_lists(path: str, recorded: list[Any], now: list[Any], depth: int) -> Iterator[Difference]:
    """Compare lists by position. If one is longer, their common beginning and end stay paired."""
    shared = min(len(recorded), len(now))
    begin = 0
    while begin < shared and _are_equal(recorded[begin], now[begin]):
        begin += 1
    end = 0
    if len(recorded) != len(now):
        while end < shared - begin and _are_equal(recorded[-1 - end], now[-1 - end]):
            end += 1
    for position in range(begin, max(len(recorded), len(now)) - end):
        a = recorded[position] if position < len(recorded) - end else ABSENT
        b = now[position] if position < len(now) - end else ABSENT
        yield from _compare_json(f"{path}[{position}]", a, b, depth + 1)


def _are_equal(one: Any, other: Any) -> bool:
    # As texts, in one call: `_compare_json` calls this at each level of nested lists, so a recursive comparison would
    # double its time at each level. `repr` keeps a `Decimal` different from a string with the same digits.
    return type(one) is type(other) and _dump(one, repr) == _dump(other, repr)


def weigh_differences(found: Sequence[Difference]) -> float:
    """Return how different two requests are: 0 for equal ones, and about 1 for each changed value."""
    weight = sum(_weigh_difference(difference) + (not difference.in_body) for difference in found[:_WEIGHED])
    return weight + max(0, len(found) - _WEIGHED)


def _weigh_difference(difference: Difference) -> float:
    """Return a weight: a little above 0 for one changed word in a text, up to 1.1 for values with nothing in common."""
    one, other = difference.recorded, difference.now
    if not (isinstance(one, str) and isinstance(other, str)):
        return 1.1 if isinstance(one, dict | list) or isinstance(other, dict | list) else 0.6
    one, other = one[:5000], other[:5000]
    around = (common_prefix_length(one, other) + common_prefix_length(one[::-1], other[::-1])) / max(
        len(one), len(other), 1
    )
    first, second = set(one.split()), set(other.split())
    words = len(first & second) / max(len(first | second), 1)
    return 1.1 - min(1.0, max(around, words))


def format_value(value: Any, other: Any, width: int) -> str:
    """Write a value for people in about ``width`` characters; a long text is cut around where ``other`` differs."""
    if value is ABSENT:
        return "absent"
    if isinstance(value, _BodyKind):
        return _KINDS_OF_BODIES.get(value, value)
    if isinstance(value, str) and (file := read_data_url(value)) is not None:
        return f"data URL, {_describe_file(file)}"
    if isinstance(value, str):
        at = common_prefix_length(value, other) if isinstance(other, str) else 0
        return quote_around(value, at, width)
    if isinstance(value, dict) and isinstance(value.get("bytes"), int) and isinstance(value.get("sha256"), str):
        return _describe_file(value)
    if isinstance(value, list) and any(isinstance(each, UploadedFile) for each in value):
        return _describe_files(value, other, width)
    return clip_around(dump_json(value), 0, width)


def dump_json(value: Any) -> str:
    """Write a value as JSON, or as ``…`` if it is nested too deeply for that."""
    if isinstance(value, Decimal):  # a number that is no float
        return str(value)
    return _dump(value, str)


def _dump(value: Any, dump_number: Callable[[Decimal], str]) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, sort_keys=True, default=dump_number)
    except RecursionError:
        return "…"


def _describe_file(value: dict[str, Any]) -> str:
    name = f"{quote_around(str(value['filename']), 0, 40)}, " if "filename" in value else ""
    media = f", {clip_around(str(value['content_type']), 0, 40)}" if "content_type" in value else ""
    return f"{name}{value['bytes']:,} bytes{media} (sha256 {value['sha256'][:12]}…)"


def _describe_files(values: list[Any], other: Any, width: int) -> str:
    """Describe those files of a field that the other side does not have at the same position."""
    others = other if isinstance(other, list) else [other]
    shown = [
        f"#{at + 1} {format_value(value, None, width)}"
        for at, value in enumerate(values)
        if at >= len(others) or others[at] != value
    ]
    return f"{len(values)} files" + (f": {'; '.join(shown)}" if shown else "")


def identify_change(found: Sequence[Difference]) -> str:
    """Return a short hash that is equal for two lists of differences if the same change of a program caused them.

    Of two texts only the words that differ are hashed, because one edit of a template changes many requests that have
    nothing else in common. The hash does not reveal the values.
    """
    changes = []
    for difference in found:
        one, other = map(_text_of, (difference.recorded, difference.now))
        begin = _length_of_equal_words(one, other)
        one, other = one[begin:], other[begin:]
        end = _length_of_equal_words(one[::-1], other[::-1])
        changes.append([part[: len(part) - end] for part in (one, other)])
    return hashlib.sha256(json.dumps(changes).encode()).hexdigest()[:16]


def _text_of(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is ABSENT else dump_json(value)


def _length_of_equal_words(one: str, other: str) -> int:
    """Return how many characters of two texts are equal, from the beginning up to where a word ends in both."""
    length = common_prefix_length(one, other)
    if one[length : length + 1].strip(" \n") or other[length : length + 1].strip(" \n"):
        return _last_space(one, length)
    return length


def _last_space(text: str, before: int) -> int:
    """Return the offset at which the word before an offset begins: behind the last space or line break, or 0."""
    return max(text.rfind(space, 0, before) for space in " \n") + 1


def quote_around(text: str, at: int, width: int) -> str:
    """Quote a text as Python does, in ``width`` characters around offset ``at``; ``…`` marks what is left out."""
    start, end = max(0, at - width), at + width  # no more can be shown
    quote = repr(text[start:end])[0]
    units = [f"\\{quote}" if c == quote else repr(c)[1:-1] if c != "'" else c for c in text[start:end]]
    return quote + _cut_around(units, at - start, width - 2, before=start > 0, after=end < len(text)) + quote


def clip_around(text: str, at: int, width: int) -> str:
    """Cut a line to ``width`` characters around offset ``at``. ``…`` marks what is left out.

    Control characters are escaped.
    """
    start, end = max(0, at - width), at + width
    units = [escape_unprintable(c) for c in text[start:end]]
    return _cut_around(units, at - start, width, before=start > 0, after=end < len(text))


def clip_path(path: str) -> str:
    """Return the end of a path in ``LONGEST_PATH`` characters, for a message."""
    return clip_around(path, len(path), LONGEST_PATH)


def _cut_around(units: Sequence[str], at: int, room: int, *, before: bool, after: bool) -> str:
    """Join as many units as fit into ``room`` characters, around the unit at ``at``.

    The units before ``at`` get a third of the room, and more if the units behind it need less. A unit is one character
    as it is shown, perhaps as an escape. ``before`` and ``after`` say that the text goes on before and behind the
    units.
    """
    if not (before or after) and sum(map(len, units)) <= room:
        return "".join(units)
    room -= 2  # for the marks
    start = at = min(at, len(units))
    following = sum(map(len, units[at:])) + room * after
    free = max(room // 3, room - following)
    while start and len(units[start - 1]) <= free:
        start -= 1
        free -= len(units[start])
    end = at
    free = room - sum(map(len, units[start:at]))
    while end < len(units) and len(units[end]) <= free:
        free -= len(units[end])
        end += 1
    head = "…" if start or before else ""
    return head + "".join(units[start:end]) + ("…" if end < len(units) or after else "")


def escape_unprintable(text: str) -> str:
    """Escape control characters, which a terminal would act on, and characters that cannot be encoded."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
