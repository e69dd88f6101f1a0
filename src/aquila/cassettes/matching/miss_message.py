"""Writes the text of a miss: the request, the nearest recording, where they differ, and the command that records."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from aquila.cassettes.matching.difference import (
    Difference,
    clip_around,
    common_prefix_length,
    dump_json,
    escape_unprintable,
    find_differences,
    format_value,
    identify_change,
    weigh_differences,
)
from aquila.cassettes.matching.nearest_recording import find_nearest_recordings
from aquila.cassettes.matching.request_key import CanonicalRequest, MatchRules, canonical_request, key_of
from aquila.cassettes.model import Interaction, RecordedRequest
from aquila.cassettes.redaction.redactor import Redactor

WIDTH = 96
"""The width of the text, in characters. Only a name, a URL or a command may make a line longer."""

_MOST_PATHS = 8
_MOST_LINES = 40
_MOST_PREVIEWED = 12  # lines of a body that has nothing to be compared with
_MOST_COMPARED = 200  # lines of either side that a diff is made of
_CANDIDATES = 8
_DEEPEST = 32


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why no recording answers a request.

    The first line of ``text`` says it in one sentence. ``difference`` are the lines that name the fields that differ
    from the nearest recording. ``group`` is equal for requests that differ by the same change. Both are None where no
    recording is near.
    """

    text: str
    difference: str | None = None
    group: str | None = None


def explain_miss(
    request: RecordedRequest,
    *,
    recordings: Sequence[Interaction],
    rules: MatchRules,
    cassette: str,
    command: str,
    redactor: Redactor,
    compares_origin: bool = False,
    request_number: int | None = None,
) -> Explanation:
    """Say why no recording answers a request.

    ``cassette`` names the file and ``command`` is what to type to record. ``request_number`` is the place of this
    request among equal ones, from 1; None if it was never recorded. ``compares_origin`` says that only recordings of
    its own scheme, host and port could have answered it. ``redactor`` is that of the session, which knows the
    credentials of its requests; no secret that it finds is shown. Length and time are bounded.
    """
    request = redactor.redact_request(request)
    hints_at_origin = compares_origin and "host" not in rules.match_on
    if compares_origin:
        rules = rules.with_origin()
    difference: list[str] = []
    group = None
    if request_number is not None:
        lines = list(_explain_played_out(request, recordings, rules, cassette, command, redactor, request_number))
    elif not recordings:
        lines = list(_explain_empty(request, rules, cassette, command))
    else:
        now = canonical_request(request, rules)
        nearest = _find_nearest(request, now, recordings, rules, redactor)
        lines = list(_explain_unrecorded(request, now, nearest, len(recordings), cassette, command))
        if hints_at_origin and nearest.differs_in_origin:
            lines += _ORIGIN_HINT
        if nearest.found and not nearest.is_another_kind:
            difference = list(_write_differences(nearest.found))
            group = identify_change(nearest.found)

    def show(lines: Sequence[str]) -> str:
        return redactor.redact_text("\n".join(lines).encode("utf-8", "backslashreplace").decode())

    return Explanation(show(lines), show([line.removeprefix("    ") for line in difference]) or None, group)


def _write_head(title: str, rows: Sequence[tuple[str, str]]) -> Iterator[str]:
    yield title
    yield ""
    for name, text in rows:
        yield f"  {name:<11}{clip_around(text, 0, 400)}"


def _request_row(request: RecordedRequest) -> tuple[str, str]:
    return "requested", f"{request.method.upper()} {request.url}"


def _count_of(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


# --- no recording


@dataclass(frozen=True, slots=True)
class _Nearest:
    """The recording that differs least: its number in the cassette (from 1), its form, and its differences."""

    number: int
    request: CanonicalRequest
    found: Sequence[Difference]

    @property
    def is_another_kind(self) -> bool:
        """Whether it is for something else, so that its body says nothing."""
        return any(difference.path in ("method", "path") for difference in self.found)

    @property
    def differs_in_origin(self) -> bool:
        """Whether it is the same request to another scheme, host or port."""
        return bool(self.found) and all(difference.path in ("scheme", "host") for difference in self.found)


def _explain_empty(request: RecordedRequest, rules: MatchRules, cassette: str, command: str) -> Iterator[str]:
    holds = "cassette", f"{cassette}: nothing recorded yet"
    yield from _write_head(f"nothing is recorded yet in {cassette}", (holds, _request_row(request)))
    yield from _write_preview(canonical_request(request, rules))
    yield from _write_advice("To record it:", command)


def _explain_unrecorded(
    request: RecordedRequest, now: CanonicalRequest, nearest: _Nearest, count: int, cassette: str, command: str
) -> Iterator[str]:
    holds = "cassette", f"{cassette}: {_count_of(count, 'recording')}"
    near = f"recording {nearest.number} of {count:,}"
    found = nearest.found
    if not found:
        title = f"no recording of {cassette} answers this request, although recording {nearest.number} looks the same"
        yield from _write_head(title, (holds, _request_row(request), ("nearest", f"{near}, which looks the same")))
        yield ""
        yield "  What identifies requests here sees a difference that these rules do not compare:"
        yield "  look at the aquila_key hook of your plugins."
        yield from _write_advice("To record it again:", command)
        return
    another = nearest.is_another_kind
    if another:
        found = [difference for difference in found if not difference.in_body and difference.path != "body"]
        near += ", which is another kind of request"
        title = f"{cassette} holds no {request.method.upper()} {request.url}"
    else:
        near += "; they differ in"
        title = f"{_name_fields(found)} from recording {nearest.number} of {cassette}"
    yield from _write_head(title, (holds, _request_row(request), ("nearest", near)))
    yield ""
    yield from _write_differences(found)
    if not another:
        yield from _write_unified_diff(render_body(nearest.request), render_body(now), f"recording {nearest.number}")
    yield from _write_advice("If the change is meant, record it again:" if not another else "To record it:", command)
    yield from _write_ignore_hint(found)


def _name_fields(found: Sequence[Difference]) -> str:
    first = clip_around(found[0].path, len(found[0].path), 60)
    if len(found) == 1:
        return f"{first} differs"
    return f"{first} and {_count_of(len(found) - 1, 'other field')} differ"


def _write_differences(found: Sequence[Difference]) -> Iterator[str]:
    for difference in found[:_MOST_PATHS]:
        yield from _write_difference(difference)
    if len(found) > _MOST_PATHS:
        yield f"    … and {len(found) - _MOST_PATHS} more"


def _find_nearest(
    request: RecordedRequest,
    now: CanonicalRequest,
    recordings: Sequence[Interaction],
    rules: MatchRules,
    redactor: Redactor,
) -> _Nearest:
    """Return the recording that differs least.

    Only a few candidates are compared value by value. There must be at least one recording.
    """
    compared: list[tuple[float, int, CanonicalRequest, list[Difference]]] = []
    for position in find_nearest_recordings(request, recordings, _CANDIDATES):
        candidate = canonical_request(redactor.redact_request(recordings[position].request), rules)
        found = find_differences(candidate, now)
        compared.append((weigh_differences(found), position, candidate, found))
    _, position, nearest, found = min(compared, key=lambda row: row[:2])
    return _Nearest(position + 1, nearest, found)


def _write_difference(difference: Difference) -> Iterator[str]:
    path = clip_around(difference.path, len(difference.path), WIDTH - 6)
    width = WIDTH - 20
    recorded = format_value(difference.recorded, difference.now, width)
    now = format_value(difference.now, difference.recorded, width)
    line = f"    {path}: recorded {recorded}, now {now}"
    if len(line) <= WIDTH:
        yield line
    else:
        yield from (f"    {path}:", f"      recorded  {recorded}", f"      now       {now}")


def _write_preview(now: CanonicalRequest) -> Iterator[str]:
    """Show how the body of a request begins, if it has one."""
    lines = render_body(now)
    if lines:
        yield ""
    for line in lines[:_MOST_PREVIEWED]:
        yield "    " + clip_around(line, 0, WIDTH - 4)
    if len(lines) > _MOST_PREVIEWED:
        yield f"    … and {_count_of(len(lines) - _MOST_PREVIEWED, 'more line')}"


def _write_advice(title: str, command: str) -> Iterator[str]:
    yield from ("", title, "", f"  {command}")


_ORIGIN_HINT = (
    "",
    "Only a request to a model may be answered by a recording of another host. If this is one,",
    "name its host in aquila_providers. If hosts do not matter here: aquila_match_on = -origin",
)

_VOLATILE = re.compile(
    r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}|\d{4}-\d\d-\d\d[T ]\d\d:\d\d|\b1[5-9]\d{8}(?:\d{3})?\b"
    r"|\b\d{8}T\d{6}Z\b|\b[0-9a-f]{32,}\b"
)


def _write_ignore_hint(found: Sequence[Difference]) -> Iterator[str]:
    """Advise to ignore a field, or a query parameter, whose values look like ids or times, new in every run."""
    for difference in found:
        values = (difference.recorded, difference.now)
        texts = [_VOLATILE.search(str(value)) for value in values if isinstance(value, str | int)]
        part, _, parameter = difference.path.partition(" ")
        setting, name = ("ignore_query", parameter) if part == "query" else ("ignore", difference.path)
        if not difference.in_body and part != "query":
            continue
        if len(texts) == 2 and all(texts) and len(name) <= 60:
            yield ""
            yield f"If {name} is new in every run, leave it out of the comparison: {setting} {name}"
            yield f"(aquila_{setting} in the project's settings, {setting}= at the marker or the call)."
            return


# --- the unified diff


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
            lines += [f"{escape_unprintable(name)}: {format_value(value, None, 10_000)}" for value in values]
    return lines


def _render_json(value: Any, depth: int = 0) -> list[str]:
    """Write JSON as lines much as YAML does: no braces, a line for each value, texts of several lines as they are."""
    if isinstance(value, dict | list) and value:
        if depth > _DEEPEST:
            return ["…"]
        return _render_object(value, depth) if isinstance(value, dict) else _render_list(value, depth)
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
    """Sort keys by name, but first those that say what an object is."""
    return key not in ("role", "type", "name", "model"), key


def _write_unified_diff(recorded: list[str], now: list[str], name: str) -> Iterator[str]:
    begin = 0
    while begin < min(len(recorded), len(now)) and recorded[begin] == now[begin]:
        begin += 1
    begin = max(0, begin - 3)
    one, other = recorded[begin : begin + _MOST_COMPARED], now[begin : begin + _MOST_COMPARED]
    if one == other or not (recorded and now):
        return
    lines = [f"  --- {name}", "  +++ this request"]
    for group in SequenceMatcher(None, one, other, autojunk=False).get_grouped_opcodes(2):
        (_, a, _, c, _), (_, _, b, _, d) = group[0], group[-1]
        lines.append(f"  @@ -{begin + a + 1},{b - a} +{begin + c + 1},{d - c} @@")
        for tag, i, j, k, m in group:
            lines += _write_hunk(tag, one[i:j], other[k:m])
    yield ""
    yield from lines[:_MOST_LINES]
    if len(lines) > _MOST_LINES:
        yield f"  … and {_count_of(len(lines) - _MOST_LINES, 'more line')}"


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


# --- played out


def _explain_played_out(
    request: RecordedRequest,
    recordings: Sequence[Interaction],
    rules: MatchRules,
    cassette: str,
    command: str,
    redactor: Redactor,
    number: int,
) -> Iterator[str]:
    same = _find_equal_recordings(request, recordings, rules, redactor)
    held = _count_of(len(same), "recording") if same else "fewer recordings"
    numbers = ", ".join(map(str, same[:10])) + ", …" * (len(same) > 10)
    if 1 < len(same) <= 10:
        numbers = " and ".join(numbers.rsplit(", ", 1))
    times = {0: "less often", 1: "once", 2: "twice"}.get(len(same), f"{len(same):,} times")
    which = f" (recording{'s' if len(same) > 1 else ''} {numbers})" if same else ""
    yield from _write_head(
        f"this is request number {number:,} of its kind, and {cassette} holds {held} of it",
        (
            ("cassette", cassette),
            _request_row(request),
            ("recorded", f"{times}{which}; this is request number {number:,}"),
        ),
    )
    yield from _write_preview(canonical_request(request, rules))
    yield from _write_advice("If this request is meant to be made so often, record it again:", command)
    yield ""
    yield 'If the last recording may answer every further one, say repeat="last" (aquila_repeat = last).'


def _find_equal_recordings(
    request: RecordedRequest, recordings: Sequence[Interaction], rules: MatchRules, redactor: Redactor
) -> list[int]:
    """Return the numbers (from 1) of the recordings with the key of this request.

    Of many recordings only the nearest, and those with the same bytes, are looked at.
    """
    key = key_of(request, rules)
    positions = set(find_nearest_recordings(request, recordings, 64))
    positions |= {
        n for n, r in enumerate(recordings) if r.request.body == request.body and r.request.url == request.url
    }
    return [n + 1 for n in sorted(positions) if key_of(redactor.redact_request(recordings[n].request), rules) == key]
