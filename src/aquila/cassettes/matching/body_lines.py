"""Writes the body of a request as lines for people, and the unified diff of two bodies."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from difflib import SequenceMatcher
from typing import Any

from aquila.cassettes.matching.difference import (
    clip_around,
    dump_json,
    escape_unprintable,
    format_value,
)
from aquila.cassettes.matching.request_key import CanonicalRequest
from aquila.cassettes.matching.uploaded_file import UploadedFile, read_data_url
from aquila.cassettes.redaction.text_changes import common_prefix_length
from aquila.plurals import count_of

WIDTH = 96
"""The width of the text of a miss, in characters. Only a name, a URL or a command may make a line longer."""

_MOST_LINES = 40  # lines of a diff that are shown
_MOST_COMPARED = 200  # lines of each side that are compared at a time: `SequenceMatcher` takes quadratic time
_DEEPEST = 32  # levels of JSON that are shown


def render_body(request: CanonicalRequest) -> list[str]:
    """Write the body of a canonical request as lines: one for each value, or for each line of a text."""
    lines: list[str] = []
    if request.kind == "json":
        lines += _render_json(request.body)
    elif request.kind == "text":
        lines += [escape_unprintable(line) for line in request.body.split("\n")] if request.body else []
    elif request.kind == "bytes":
        lines.append(format_value(request.body, None, WIDTH))
    elif request.kind != "none":
        for name, values in sorted(request.body.items()):
            for value in values:
                lines += [f"{escape_unprintable(name)}: {format_value(value, None, 10_000)}", *_render_content(value)]
    return lines


def _render_content(value: Any) -> list[str]:
    """Write the content of a file as lines, if it is text."""
    file = read_data_url(value) if isinstance(value, str) else value
    text = file.read_text() if isinstance(file, UploadedFile) else None
    # Not `splitlines`: that files differ only in the ends of lines, or in the last one, would not be seen.
    return [f"  {escape_unprintable(line)}" for line in text.split("\n")] if text else []


def _render_json(value: Any, depth: int = 0) -> list[str]:
    """Write JSON as lines much as YAML does: no braces, a line for each value, texts of several lines as they are."""
    if isinstance(value, dict | list) and value:
        if depth > _DEEPEST:
            return ["…"]
        return _render_object(value, depth) if isinstance(value, dict) else _render_list(value, depth)
    if isinstance(value, str) and read_data_url(value) is not None:
        return [format_value(value, None, 10_000), *_render_content(value)]
    if isinstance(value, str) and "\n" in value:
        return ["|", *map(escape_unprintable, value.split("\n"))]
    return [escape_unprintable(dump_json(value))]


def _render_object(value: dict[str, Any], depth: int) -> list[str]:
    lines: list[str] = []
    for key in sorted(value, key=_key_order):
        inner = _render_json(value[key], depth + 1)
        nested = isinstance(value[key], dict | list) and bool(value[key])
        lines.append(f"{escape_unprintable(key)}:" if nested else f"{escape_unprintable(key)}: {inner.pop(0)}")
        lines += [f"  {line}" for line in inner]
    return lines


def _render_list(value: list[Any], depth: int) -> list[str]:
    lines: list[str] = []
    for item in value:
        first, *inner = _render_json(item, depth + 1)
        lines += [f"- {first}", *(f"  {line}" for line in inner)]
    return lines


def _key_order(key: str) -> tuple[bool, str]:
    """Return a sort key: first the keys that say what an object is, then the others by name."""
    return key not in ("role", "type", "name", "model"), key


def write_unified_diff(recorded: list[str], now: list[str], name: str) -> Iterator[str]:
    """Yield a unified diff of two bodies as lines, with line numbers of the whole bodies. Nothing if they are equal.

    ``recorded`` and ``now`` are what ``render_body`` returned for the recorded body and for the body of this request.
    The diff shows ``name`` as the name of the recorded body.
    """
    lines: list[str] = []
    line, opposite = 0, 0
    while len(lines) <= _MOST_LINES and recorded[line:] != now[opposite:]:
        skipped = max(0, common_prefix_length(recorded[line:], now[opposite:]) - 2)
        line, opposite = line + skipped, opposite + skipped
        one, other = _cut_part(recorded[line:], now[opposite:])
        for group in SequenceMatcher(None, one, other, autojunk=False).get_grouped_opcodes(2):
            (_, a, _, c, _), (_, _, b, _, d) = group[0], group[-1]
            lines.append(f"  @@ -{line + a + 1},{b - a} +{opposite + c + 1},{d - c} @@")
            for tag, i, j, k, m in group:
                lines += _write_hunk(tag, one[i:j], other[k:m])
        line, opposite = line + len(one), opposite + len(other)
    if lines and recorded and now:
        shown = _MOST_LINES - 2
        yield from ("", f"  --- {name}", "  +++ this request", *lines[:shown])
        if len(lines) > shown:
            yield f"  … and {count_of(len(lines) - shown, 'more line')}"


def _cut_part(recorded: list[str], now: list[str]) -> tuple[list[str], list[str]]:
    """Return the beginnings of two bodies, to be compared: as far as lines that are equal, if the bodies go on."""
    one, other = recorded[:_MOST_COMPARED], now[:_MOST_COMPARED]
    if (one, other) != (recorded, now):
        for last in SequenceMatcher(None, one, other, autojunk=False).get_matching_blocks()[-2:-1]:
            if last.a or last.b:
                return one[: last.a + last.size], other[: last.b + last.size]
    return one, other


# What `render_body` writes before a value: indentation, the dashes of lists, and a key.
_LABEL = re.compile(r" *(?:- )*(?:[^\s:\"]{1,30}: )?")


def _write_hunk(tag: str, one: list[str], other: list[str]) -> Iterator[str]:
    if tag == "equal":
        yield from (f"   {_clip_line(line, 0)}" for line in one)
        return
    # A long line is cut around the place where it differs from the line opposite.
    places = [common_prefix_length(a, b) for a, b in zip(one, other, strict=False)]
    for sign, lines in (("-", one), ("+", other)):
        for line, place in zip(lines, itertools.chain(places, itertools.repeat(0)), strict=False):
            yield f"  {sign}{_clip_line(line, place)}"


def _clip_line(line: str, place: int) -> str:
    """Cut a line to fit; its indentation and its key stay."""
    match = _LABEL.match(line)
    end = match.end() if match else 0
    label = line[: min(end, WIDTH // 2)]
    return label + clip_around(line[len(label) :], max(0, place - len(label)), WIDTH - 3 - len(label))
