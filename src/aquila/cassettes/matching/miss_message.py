"""Writes the text of a miss: the request, the nearest recording, where they differ, and the command that records."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from aquila.cassettes.body_file import StoredRequest
from aquila.cassettes.matching import cures
from aquila.cassettes.matching.body_lines import WIDTH, render_body, write_unified_diff
from aquila.cassettes.matching.cures import Cure
from aquila.cassettes.matching.difference import (
    Difference,
    clip_around,
    clip_path,
    find_differences,
    format_value,
    identify_change,
    weigh_differences,
)
from aquila.cassettes.matching.match_rules import PARTS, MatchRules
from aquila.cassettes.matching.miss_remarks import is_secret_url, write_cause
from aquila.cassettes.matching.nearest_recording import find_nearest_recordings
from aquila.cassettes.matching.request_key import CanonicalRequest, canonical_request, key_of
from aquila.cassettes.model import Interaction, RecordedRequest
from aquila.cassettes.redaction.found_secrets import PLACEHOLDER
from aquila.cassettes.redaction.redactor import Redactor
from aquila.plurals import count_of
from aquila.setting_lines import AS_ARGUMENTS, setting_line

_MOST_PATHS = 8  # differences that are written
_MOST_PREVIEWED = 12  # lines of a body that is shown because there is nothing to compare it with
_EVERYTHING = MatchRules(tuple(part for part in PARTS if part not in ("origin", "headers")))
_CANDIDATES = 8  # recordings that are compared value by value


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why no recording answers a request.

    - ``text``: the message. Its first line gives the reason in one sentence.
    - ``difference``: the lines that name the fields that differ from the nearest recording. None if no recording is
      similar.
    - ``group``: a hash that is equal for requests that differ by the same change. None if no recording is similar.
    - ``setting``: the first setting that the message advises, if it fits on one line; empty if none does. None if the
      message advises none, or only one about empty fields.
    - ``found``: the differences from the nearest recording.
    - ``nearest``: the number of that recording, from 0. None if no recording is similar.
    - ``cure``: the settings under which that recording would answer, if everything that differs is new in every run.
    - ``ignorable``: the settings that leave out the fields that differ, if these fields do not say what is asked.
    """

    text: str
    difference: str | None = None
    group: str | None = None
    setting: str | None = None
    found: Sequence[Difference] = field(default=(), repr=False)
    nearest: int | None = None
    cure: Cure | None = None
    ignorable: Cure | None = None


def compare_with_recordings(
    request: RecordedRequest,
    *,
    recordings: Sequence[Interaction],
    rules: MatchRules,
    cassette: str,
    command: str,
    redactor: Redactor,
    compares_origin: bool = False,
    request_number: int | None = None,
    advises_settings: bool = True,
    settings_file: str = "",
) -> Explanation:
    """Explain why no recording answers a request. The message is short even for a large cassette.

    - ``cassette``: the name of the file.
    - ``command``: the command that records; if it is empty, no command is advised.
    - ``redactor``: the redactor of the session, which knows the credentials of its requests. The message shows no
      secret that it finds.
    - ``compares_origin``: whether only recordings of the same scheme, host and port could have answered.
    - ``request_number``: the number of this request among equal ones, from 1; None if it was never recorded.
    - ``advises_settings``: False if a plugin, or a function of the program, decides what a request matches, so that no
      setting would help.
    - ``settings_file``: the name of the file with the project's settings, as in ``setting_lines``.

    Raises ``CassetteCorrupt`` if the file of a large body is missing.
    """
    request = redactor.redact_request(request)
    hints_at_origin = compares_origin and "host" not in rules.match_on
    if compares_origin:
        rules = rules.with_origin()
    difference: list[str] = []
    group, nearest = None, None
    if request_number is not None:
        lines = list(_explain_played_out(request, recordings, rules, cassette, command, redactor, request_number))
        lines += ["", *_write_repeat_advice(settings_file)]
    elif not recordings:
        lines = list(_explain_empty(request, rules, cassette, command))
    else:
        now = canonical_request(request, rules)
        nearest = _find_nearest(request, now, recordings, rules, redactor, advises_settings=advises_settings)
        lines = list(
            _explain_unrecorded(
                request, now, nearest, len(recordings), cassette, command, settings_file, advises_settings
            )
        )
        if hints_at_origin and nearest.differs_in_origin:
            lines += _write_origin_hint(settings_file)
        if nearest.found and not nearest.is_another_kind:
            difference = list(write_differences(nearest.found))
            group = identify_change(cures.without_fresh_values(nearest.found))

    lines += _write_hint_at_telemetry(request, settings_file)
    setting = cures.short_setting(nearest.advised if nearest is not None else None, settings_file)

    def show(lines: Sequence[str]) -> str:
        return redactor.redact_text("\n".join(lines).encode("utf-8", "backslashreplace").decode())

    return Explanation(
        show(lines),
        show([line.removeprefix("    ") for line in difference]) or None,
        group,
        setting if setting is None else show([setting]),
        nearest.found if nearest is not None else (),
        nearest.number - 1 if nearest is not None and not nearest.is_another_kind else None,
        nearest.cure if nearest is not None else None,
        nearest.ignorable if nearest is not None else None,
    )


def _write_head(title: str, rows: Sequence[tuple[str, str]]) -> Iterator[str]:
    yield title
    yield ""
    for name, text in rows:
        yield f"  {name:<11}{clip_around(text, 0, 400)}"


def _request_row(request: RecordedRequest) -> tuple[str, str]:
    url = f"{PLACEHOLDER.decode()} (the URL is a secret)" if is_secret_url(request.url) else request.url
    return "requested", f"{request.method.upper()} {url}"


# --- no recording


@dataclass(frozen=True, slots=True)
class _Nearest:
    """The recording that differs least: its number in the cassette (from 1), its request, and the differences.

    ``uncompared`` are those that the rules do not compare, if there are no others.
    """

    number: int
    request: CanonicalRequest
    found: Sequence[Difference]
    uncompared: Sequence[Difference] = ()
    cure: Cure | None = None
    ignorable: Cure | None = None

    @property
    def is_another_kind(self) -> bool:
        """Whether it has another method or path, so that comparing the bodies would help nobody."""
        return self.cure is None and any(difference.path in ("method", "path") for difference in self.found)

    @property
    def advised(self) -> Cure | None:
        """The settings that the message names, because everything that differs may be new in every run."""
        if self.cure is not None or self.ignorable is None:
            return self.cure
        return self.ignorable if all(map(cures.may_be_fresh, self.found)) else None

    @property
    def differs_in_origin(self) -> bool:
        """Whether it is the same request to another scheme, host or port."""
        return bool(self.found) and all(difference.path in ("scheme", "host") for difference in self.found)


def _explain_empty(request: RecordedRequest, rules: MatchRules, cassette: str, command: str) -> Iterator[str]:
    holds = "cassette", f"{cassette}: nothing recorded yet"
    yield from _write_head(f"nothing is recorded yet in {cassette}", (holds, _request_row(request)))
    yield from write_preview(canonical_request(request, rules))
    yield from _write_advice("To record it:", command)


def _explain_unrecorded(
    request: RecordedRequest,
    now: CanonicalRequest,
    nearest: _Nearest,
    count: int,
    cassette: str,
    command: str,
    settings_file: str,
    advises_settings: bool,
) -> Iterator[str]:
    holds = "cassette", f"{cassette}: {count_of(count, 'recording')}"
    near = f"recording {nearest.number} of {count:,}"
    found = nearest.found
    if not found:
        unlike = nearest.uncompared
        title = f"no recording of {cassette} answers this request, although recording {nearest.number} looks the same"
        if unlike:
            title = f"{name_fields(unlike)} from recording {nearest.number} of {cassette}"
        near += "; they differ in" if unlike else ", which looks the same"
        yield from _write_head(title, (holds, _request_row(request), ("nearest", near)))
        yield from ["", *write_differences(unlike)] if unlike else []
        yield ""
        why = f"{'The settings leave that out, but' if unlike else 'But'} {cures.OTHER_DECIDER}."
        yield from textwrap.wrap(why, WIDTH, initial_indent="  ", subsequent_indent="  ")
        yield from _write_advice("To record it again:", command)
        return
    another = nearest.is_another_kind
    if another:
        found = [difference for difference in found if not difference.in_body and difference.path != "body"]
        near += ", which is another kind of request"
        title = f"{cassette} holds no {request.method.upper()} {request.url}"
    else:
        near += "; they differ in"
        title = f"{name_fields(found)} from recording {nearest.number} of {cassette}"
    yield from _write_head(title, (holds, _request_row(request), ("nearest", near)))
    yield ""
    yield from write_differences(found)
    if not another:
        yield from write_unified_diff(render_body(nearest.request), render_body(now), f"recording {nearest.number}")
    if nearest.advised is not None:
        yield from cures.write_advice(nearest.advised, settings_file)
    elif not another and (fresh := cures.find_fresh_parts(found)):
        yield from cures.write_remark(fresh, advises_settings=advises_settings)
    else:
        yield from write_cause(found, settings_file)
    yield from _write_advice("If the change is meant, record it again:" if not another else "To record it:", command)


def name_fields(found: Sequence[Difference]) -> str:
    """Return the beginning of a sentence that says which fields differ."""
    first = clip_path(found[0].path)
    if len(found) == 1:
        return f"{first} differs"
    return f"{first} and {count_of(len(found) - 1, 'other field')} differ"


def write_differences(found: Sequence[Difference]) -> Iterator[str]:
    """Yield the lines that say where two requests differ, and both values."""
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
    *,
    advises_settings: bool,
) -> _Nearest:
    """Return the recording that a setting would make equal; if there is none, the one that differs least.

    A recording that differs only in a fresh id is nearer than one that asks something else in similar words. Only a few
    candidates are compared value by value. There must be at least one recording.
    """
    compared: list[tuple[float, int, RecordedRequest, CanonicalRequest, list[Difference]]] = []
    for position in find_nearest_recordings(request, recordings, _CANDIDATES):
        recorded = _without_secrets(recordings[position].request, redactor)
        candidate = canonical_request(recorded, rules)
        found = find_differences(candidate, now)
        compared.append((weigh_differences(found), position, recorded, candidate, found))
    compared.sort(key=lambda row: row[:2])
    kinds = {"cure": cures.find_cure, "ignorable": cures.find_ignorable} if advises_settings else {}
    for kind, find in kinds.items():
        for _, position, recorded, candidate, found in compared:
            if (cure := find(request, recorded, found, rules)) is not None:
                return _Nearest(position + 1, candidate, found, (), **{kind: cure})
    _, position, recorded, nearest, found = compared[0]
    uncompared: Sequence[Difference] = ()
    if not found:  # a plugin's hook or a function of the program compares what the rules do not
        uncompared = find_differences(canonical_request(recorded, _EVERYTHING), canonical_request(request, _EVERYTHING))
    return _Nearest(position + 1, nearest, found, uncompared)


def _without_secrets(recorded: RecordedRequest, redactor: Redactor) -> RecordedRequest:
    """Redact a recorded request as its key was computed: a body in a file is not searched, which would take long."""
    return recorded if isinstance(recorded, StoredRequest) else redactor.redact_request(recorded)


def _write_difference(difference: Difference) -> Iterator[str]:
    path = clip_around(difference.path, len(difference.path), WIDTH - 6)
    width = WIDTH - 20
    if path == "path" and is_secret_url(difference.recorded):
        yield f"    URL: recorded {PLACEHOLDER.decode()}, now another one"
        return
    recorded = format_value(difference.recorded, difference.now, width)
    now = format_value(difference.now, difference.recorded, width)
    line = f"    {path}: recorded {recorded}, now {now}"
    if len(line) <= WIDTH:
        yield line
    else:
        yield from (f"    {path}:", f"      recorded  {recorded}", f"      now       {now}")


def write_preview(now: CanonicalRequest) -> Iterator[str]:
    """Show how the body of a request begins, if it has one."""
    lines = render_body(now)
    if lines:
        yield ""
    for line in lines[:_MOST_PREVIEWED]:
        yield "    " + clip_around(line, 0, WIDTH - 4)
    if len(lines) > _MOST_PREVIEWED:
        yield f"    … and {count_of(len(lines) - _MOST_PREVIEWED, 'more line')}"


def _write_advice(title: str, command: str) -> Iterator[str]:
    if command:
        yield from ("", title, "", f"  {command}")


def _write_origin_hint(settings_file: str) -> Iterator[str]:
    yield ""
    yield "Only a request to a model may be answered by a recording of another host. If this is one,"
    setting = setting_line("match_on", "-origin", settings_file)
    yield f"name its host in aquila_providers. If hosts do not matter here: {setting}"


_TELEMETRY_PATHS = ("/v1/traces", "/v1/metrics", "/v1/logs")
"""The ends of the paths to which OpenTelemetry sends its data, whatever the host."""


def _write_hint_at_telemetry(request: RecordedRequest, settings_file: str) -> Iterator[str]:
    address = urlsplit(request.url)
    if request.method.upper() == "POST" and address.path.endswith(_TELEMETRY_PATHS):
        yield ""
        yield "This may be telemetry of OpenTelemetry, which is new in every run. To neither send,"
        row = setting_line("side_requests", f"POST {address.hostname}{address.path}", settings_file)
        yield f"record nor miss it: {row}"


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
    now = canonical_request(request, rules)
    same = _find_equal_recordings(request, now.digest, recordings, rules, redactor)
    held = count_of(len(same), "recording") if same else "fewer recordings"
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
    yield from write_preview(now)
    yield from _write_advice("If this request is meant to be made so often, record it again:", command)


def _write_repeat_advice(settings_file: str) -> Iterator[str]:
    line = setting_line("repeat", "last", settings_file)
    argument = setting_line("repeat", "last", AS_ARGUMENTS)
    setting = argument if line == argument else f"{argument} ({line})"
    yield f"If the last recording may answer every further one, say {setting}."


def _find_equal_recordings(
    request: RecordedRequest, key: str, recordings: Sequence[Interaction], rules: MatchRules, redactor: Redactor
) -> list[int]:
    """Return the numbers (from 1) of the recordings with the key of this request, which is ``key``.

    A cassette may have thousands of recordings, so keys are computed only for the nearest ones, and for those with the
    same bytes.
    """
    positions = set(find_nearest_recordings(request, recordings, 64))
    positions |= {n for n, each in enumerate(recordings) if _is_sent_as(each.request, request)}
    return [n + 1 for n in sorted(positions) if key_of(_without_secrets(recordings[n].request, redactor), rules) == key]


def _is_sent_as(one: RecordedRequest, other: RecordedRequest) -> bool:
    """Whether two requests have the same URL and the same bytes. The size comes first: a body may lie in a file."""
    return one.url == other.url and one.size == other.size and one.body == other.body
