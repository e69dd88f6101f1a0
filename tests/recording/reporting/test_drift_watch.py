"""Requests that a recording answers although their content differs from all recordings."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

from aquila.cassettes.matching.match_rules import MatchRules
from aquila.cassettes.model import Interaction, RecordedRequest, RecordedResponse
from aquila.recording.reporting import drift_watch

URL = "https://models.test/v1/chat"
RECORDINGS = [
    Interaction(RecordedRequest("POST", URL, (), b'{"n": %d}' % number), RecordedResponse(200)) for number in range(50)
]


def watching() -> tuple[Callable[[RecordedRequest, Interaction], None], list[RecordedRequest], list[object]]:
    """Return the function that notes requests, the requests that it has examined, and what it has noted."""
    examined: list[RecordedRequest] = []
    noted: list[object] = []

    def redact(request: RecordedRequest) -> RecordedRequest:
        examined.append(request)
        return request

    session = SimpleNamespace(
        name="shared",
        rules=MatchRules(match_on=("method", "origin", "path")),
        redactor=SimpleNamespace(redact_request=redact),
        cassette=SimpleNamespace(interactions=RECORDINGS),
    )
    log = SimpleNamespace(note=lambda scope, row: noted.append(row))
    scope = SimpleNamespace(run=SimpleNamespace(state_of=lambda kind: log))
    return drift_watch.note_other_contents(scope, session), examined, noted  # type: ignore[arg-type]


def test_a_request_with_the_content_of_its_recording_is_compared_with_no_other() -> None:
    note, examined, noted = watching()
    for each in RECORDINGS[:3]:
        note(each.request, each)
    assert not noted
    assert len(examined) <= 2 * 3  # and not the 50 recordings of a cassette that many tests share


def test_only_a_content_that_no_recording_has_is_noted() -> None:
    note, _, noted = watching()
    note(RECORDINGS[7].request, RECORDINGS[0])
    assert not noted
    note(RecordedRequest("POST", URL, (), b'{"n": 50}'), RECORDINGS[0])
    assert len(noted) == 1
