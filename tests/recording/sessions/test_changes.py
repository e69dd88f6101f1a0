"""How storing a session changes its cassette."""

from __future__ import annotations

from dataclasses import replace

import pytest

from aquila.cassettes.matching.match_rules import MatchRules
from aquila.cassettes.matching.miss_message import Explanation
from aquila.cassettes.matching.request_key import key_of
from aquila.cassettes.model import Cassette, Interaction, RecordedChunk, RecordedRequest, RecordedResponse
from aquila.cassettes.redaction.redactor import Redactor
from aquila.cassettes.storage.merging import NewRecording, merge_changes
from aquila.recording.sessions.session import Session
from aquila.recording.sessions.session_decisions import RecordDecision, ReplayDecision

RULES = MatchRules()
JSON = (("content-type", "application/json"),)


def interaction(question: int, answer: str) -> Interaction:
    request = RecordedRequest("POST", "https://api.example/v1", JSON, b'{"q":%d}' % question)
    return Interaction(request, RecordedResponse(200, chunks=(RecordedChunk(answer.encode()),)))


def compute_key(request: RecordedRequest) -> str:
    return key_of(request, RULES)


def open_session(cassette: Cassette, mode: str) -> Session:
    return Session(
        "name",
        cassette,
        mode=mode,
        rules=RULES,
        identify_request=compute_key,
        redactor=Redactor(),
        explain_miss=lambda missed: Explanation(""),
    )


def store(stored: list[Interaction], asked: list[int], *, drop_unused: bool, mode: str = "missing") -> list[str]:
    """Ask some questions, record what is asked to be, and return what the cassette answers then, in order."""
    cassette = Cassette.from_interactions(stored)
    session = open_session(cassette, mode)
    for question in asked:
        decision = session.decide(interaction(question, "").request)
        if isinstance(decision, RecordDecision):
            row = interaction(question, f"new {question}")
            session.add_recording(
                NewRecording(decision.key, decision.position, decision.order, row, call=decision.call)
            )
        else:
            assert isinstance(decision, ReplayDecision)
    changes = session.compute_changes(record_errors="last", drop_unused=drop_unused)
    merged = merge_changes(cassette, changes, compute_key)
    return [each.response.body.decode() for each in merged.interactions]


STORED = [interaction(1, "old 1"), interaction(2, "old 2"), interaction(1, "old 1 again")]


@pytest.mark.parametrize(
    ("asked", "left"),
    [
        ([1, 2, 1], ["old 1", "old 2", "old 1 again"]),
        ([2, 3], ["old 2", "new 3"]),
        ([1, 3], ["old 1", "new 3"]),
        ([], []),
    ],
)
def test_stored_recordings_that_were_not_played_are_dropped(asked: list[int], left: list[str]) -> None:
    assert store(STORED, asked, drop_unused=True) == left


def test_all_recordings_stay_if_none_is_to_be_dropped() -> None:
    assert store(STORED, [3], drop_unused=False) == ["old 1", "old 2", "old 1 again", "new 3"]


def test_a_recording_that_is_made_again_keeps_its_place() -> None:
    assert store(STORED, [1, 2], drop_unused=True, mode="all") == ["new 1", "new 2"]
    assert store(STORED, [1, 2], drop_unused=False, mode="all") == ["new 1", "new 2", "old 1 again"]


def test_a_recording_that_replaces_the_one_of_its_request_is_stored_alone() -> None:
    session = open_session(Cassette(), "all")
    decisions = [session.decide(interaction(number, "").request) for number in (1, 2)]
    for number, decision in enumerate(decisions, start=1):
        assert isinstance(decision, RecordDecision)
        for answer in ("begun", "ended"):
            row = NewRecording(decision.key, decision.position, decision.order, interaction(number, answer))
            session.add_recording(row, replaces=answer == "ended")
    assert [row.interaction.response.body for row in session.new_recordings] == [b"ended", b"ended"]


def test_a_call_is_remembered_until_an_answer_ends_it() -> None:
    """As long as it is, the frame of its client's function lives, too."""
    session, good = open_session(Cassette(), "all"), interaction(1, "at last")
    calls: list[str] = []
    for status in (503, 503, 200):
        sent = replace(good.request, headers=(*JSON, ("x-stainless-retry-count", str(len(calls)))))
        decision = session.decide(sent)
        assert isinstance(decision, RecordDecision)
        calls.append(decision.call)
        assert session._open_calls.by_key
        row = replace(good, response=replace(good.response, status=status))
        session.add_recording(NewRecording(decision.key, decision.position, decision.order, row, call=decision.call))
    assert len(set(calls)) == 1, "three attempts of one call"
    assert not session._open_calls.by_key
