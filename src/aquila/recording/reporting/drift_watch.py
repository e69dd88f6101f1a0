"""Notes each request that no recording answers, in a run that looks for drift.

Such a request gets the answer of the nearest recording, so that the test reaches its next request. A request that a
recording answers exactly gets that answer, as in any replay.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from aquila import setting_lines
from aquila.cassettes.matching import cures, difference, json_path
from aquila.cassettes.matching.match_rules import DEFAULT_MATCH_ON
from aquila.cassettes.matching.request_key import key_of
from aquila.cassettes.model import Interaction, RecordedRequest

if TYPE_CHECKING:
    from aquila.cassettes.matching.miss_message import Explanation
    from aquila.cassettes.web_socket_frames.misses import FrameMiss
    from aquila.recording.scope import Scope
    from aquila.recording.sessions.session import Session
    from aquila.recording.sessions.session_decisions import MissedRequest

DriftKind = Literal["changed", "another", "played_out", "unrecorded", "without_cassette"]

_MOST_CHANGES = 20
_SHOWN = 60
"""How many characters of a value are shown."""


@dataclass(frozen=True, slots=True)
class DriftedField:
    """A field that differs: its path, both values as text, and their kinds if they are new in every run."""

    path: str
    recorded: str
    now: str
    new_in_every_run: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DriftedRequest:
    """A request that no recording answers.

    ``kind`` says why: the nearest recording differs in ``changes`` (``changed``), no recording has this method and path
    (``another``), it is sent more often than it was recorded (``played_out``), its cassette has no recordings
    (``unrecorded``), or its test has no cassette (``without_cassette``). ``recording`` is the number (from 1) of the
    nearest recording. ``group`` is equal for requests with the same changes. Under each of ``settings`` alone the
    request would match; each is a list of lines of the project's settings file. ``text`` explains the miss.
    """

    cassette: str
    method: str
    url: str
    kind: DriftKind
    text: str
    recording: int | None = None
    changes: tuple[DriftedField, ...] = ()
    group: str = ""
    settings: tuple[tuple[str, ...], ...] = ()

    def as_plain_data(self) -> dict[str, Any]:
        """Return it as JSON values."""
        # Through JSON and back, so that tuples become lists, as in a row of a child process.
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain


class DriftLog:
    """The drifted requests of a run, by scope. A child process tells its parent through a file. Any thread may add one.

    The run owns it. ``take`` removes the rows of a scope, so memory does not grow with the run.
    """

    def __init__(self) -> None:
        self._rows: dict[str, list[dict[str, Any]]] = {}  # by the id of the scope; `setdefault` and `append` are atomic

    def note(self, scope: Scope, drifted: DriftedRequest) -> None:
        """Add a request of a scope."""
        row, test = drifted.as_plain_data(), scope.run.test
        if test is not None and test.how_to_type is not None:
            row["test"] = test.how_to_type()[0]  # else that of the report: the last one, if a fixture holds the scope
        if scope.is_owner:
            self._rows.setdefault(scope.id, []).append(row)
        else:
            scope.child_messages.tell_drift(scope.id, row)

    def take(self, scope: Scope) -> list[dict[str, Any]]:
        """Return what this process and its children added for a scope since the last call. Empty in a child."""
        if not scope.is_owner:
            return []
        return self._rows.pop(scope.id, []) + list(scope.child_messages.take_drift(scope.id))


def strict_match_on(match_on: Sequence[str]) -> tuple[str, ...]:
    """Return the parts that are compared in a run that looks for drift: the default ones, and those of the settings."""
    return tuple(dict.fromkeys((*DEFAULT_MATCH_ON, *match_on)))


def note_other_contents(scope: Scope, session: Session) -> Callable[[RecordedRequest, Interaction], None]:
    """Return a function that notes answered requests whose content no recording of a session has."""
    rules = replace(session.rules, match_on=strict_match_on(session.rules.match_on))
    recordings = session.cassette.interactions

    def key_without_secrets(request: RecordedRequest) -> str:
        return key_of(session.redactor.redact_request(request), rules)

    @functools.cache
    def known_keys() -> frozenset[str]:
        return frozenset(key_without_secrets(one.request) for one in recordings)

    def note(request: RecordedRequest, answer: Interaction) -> None:
        key = key_without_secrets(request)
        # First the recording that answers: the cassette may be a large one that many tests share.
        if recordings and key != key_without_secrets(answer.request) and key not in known_keys():
            asked = session.redactor.redact_request(request)
            row = DriftedRequest(session.name, asked.method.upper(), asked.url, "changed", "")
            scope.run.state_of(DriftLog).note(scope, row)

    return note


def note_drift(
    scope: Scope, session: Session, explain: Callable[[MissedRequest], Explanation]
) -> Callable[[MissedRequest], int | None]:
    """Return a function that notes a request that no recording answers, and finds a recording to replay for it.

    It returns the number (from 0) of the nearest recording with the same method and path; else of the next one that the
    program's own comparison finds; else None.
    """

    def note(missed: MissedRequest) -> int | None:
        explained = explain(missed)
        scope.run.state_of(DriftLog).note(scope, _describe(scope, session, missed, explained))
        return _find_by_comparison(scope, session, missed) if explained.nearest is None else explained.nearest

    return note


def _find_by_comparison(scope: Scope, session: Session, missed: MissedRequest) -> int | None:
    if scope.filters is None or scope.filters.is_same is None:
        return None
    asked, is_same = session.redactor.redact_request(missed.request), scope.filters.is_same
    recordings = enumerate(session.cassette.interactions)
    found = [number for number, each in recordings if is_same(asked, each.request)]
    return next((number for number in found if not session.plays.was_played(number)), found[-1] if found else None)


def _describe(scope: Scope, session: Session, missed: MissedRequest, explained: Explanation) -> DriftedRequest:
    request = session.redactor.redact_request(missed.request)
    row = DriftedRequest(session.name, request.method.upper(), request.url, "changed", explained.text)
    if missed.recording_count:
        return replace(
            row, kind="played_out", group="played out", settings=tuple(_write_advice(scope, [{"repeat": ("last",)}]))
        )
    if not session.cassette.interactions:
        return replace(row, kind="unrecorded")
    if explained.nearest is None:
        return replace(row, kind="another", group=f"another {row.method} {row.url.partition('?')[0]}")
    row = replace(row, recording=explained.nearest + 1)
    return _with_changes(row, scope, session, explained.found, explained.cure or explained.ignorable)


def note_message(scope: Scope, session: Session, handshake: RecordedRequest, miss: FrameMiss, text: str) -> None:
    """Note a message of a WebSocket conversation that differs from the recorded one. ``text`` explains the miss."""
    request = session.redactor.redact_request(handshake)
    row = DriftedRequest(session.name, request.method.upper(), request.url, "changed", text)
    if miss.played_out:
        row = replace(row, kind="played_out", group="played out")
    elif miss.found:
        row = _with_changes(row, scope, session, miss.found, miss.cure or miss.ignorable)
    else:
        row = replace(row, group=miss.group or "sound", changes=(DriftedField("sound", "as it is", "another"),))
    scope.run.state_of(DriftLog).note(scope, row)


def _with_changes(
    row: DriftedRequest, scope: Scope, session: Session, found: Sequence[difference.Difference], cure: cures.Cure | None
) -> DriftedRequest:
    """Return a row with what differs, and the settings under which it would match."""
    fresh = cures.find_fresh_fields(found)
    changes = tuple(
        DriftedField(
            difference.clip_around(one.path, len(one.path), _SHOWN),
            _shown(session, one.recorded, one.now),
            _shown(session, one.now, one.recorded),
            field.kinds if field is not None else (),
        )
        for one, field in zip(found[:_MOST_CHANGES], fresh, strict=False)
    )
    identity = [
        (json_path.with_any_index(one.path), field.kinds if field is not None else difference.identify_change([one]))
        for one, field in zip(cures.without_fresh_values(found), fresh, strict=True)
    ]
    return replace(
        row,
        changes=changes,
        group=hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16],
        settings=tuple(_write_advice(scope, cure.advice if cure is not None else ())),
    )


def _write_advice(scope: Scope, choices: Sequence[Mapping[str, Sequence[str]]]) -> Iterator[tuple[str, ...]]:
    """Yield each choice of settings as lines of the settings file, or as arguments where a marker or call overrides it.

    Settings that a drop-in layer gives are left out: they follow from options of the tool that it stands in for.
    """
    for advice in choices:
        if scope.filters is None or not any(map(scope.gives, advice)):
            yield tuple(line for name, values in advice.items() for line in _write_argument(scope, name, values))


def _write_argument(scope: Scope, name: str, values: Sequence[str]) -> Sequence[str]:
    if not scope.gives(name):
        return setting_lines.setting_lines(name, values, scope.run.layers.settings_file)
    given = repr(values[0]) if name == "repeat" else repr(list(values))
    return [f"{name}={given} at the marker or use_cassette"]


def _shown(session: Session, value: Any, other: Any) -> str:
    text = difference.format_value(value, other, _SHOWN)
    return session.redactor.redact_text(text.encode("utf-8", "backslashreplace").decode())
