"""Which recordings answer which requests, and when a key is computed for that."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aquila.cassettes.matching.match_rules import MatchRules
from aquila.cassettes.matching.miss_message import Explanation
from aquila.cassettes.matching.request_key import key_of
from aquila.cassettes.model import Cassette, Interaction, RecordedChunk, RecordedRequest, RecordedResponse
from aquila.cassettes.redaction.redactor import Redactor
from aquila.recording.sessions.recording_keys import CountedRequests, RecordingKeys, holds_stand_in
from aquila.recording.sessions.session import Session
from aquila.recording.sessions.session_decisions import RefuseDecision, ReplayDecision

RULES = MatchRules()
URL = "https://api.example/v1"
JSON = (("content-type", "application/json"),)
ONE, ONE_WITH_SPACES, OTHER, UNKNOWN = (
    RecordedRequest("POST", URL, JSON, body) for body in (b'{"q":1}', b'{ "q": 1 }', b'{"q":2}', b'{"q":3}')
)


class Identifier:
    """Gives keys and counts how often."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, request: RecordedRequest) -> str:
        self.calls += 1
        return key_of(request, RULES)


def open_session(requests: list[RecordedRequest], identifier: Identifier, *, later: bool, status: int = 200) -> Session:
    rows = (
        Interaction(request, RecordedResponse(status, chunks=(RecordedChunk(b"%d" % number),)))
        for number, request in enumerate(requests)
    )
    return Session(
        "name",
        Cassette.from_interactions(rows),
        mode="replay",
        rules=RULES,
        identify_request=identifier,
        redactor=Redactor(),
        explain_miss=lambda missed: Explanation(f"{missed.recording_count} recordings, {missed.earlier_count} asked"),
        compute_keys_later=later,
    )


def test_recordings_whose_keys_become_one_keep_the_order_of_the_cassette_and_all_counts() -> None:
    rows = [Interaction(each, RecordedResponse(200)) for each in (ONE, OTHER, ONE)]
    keys = RecordingKeys(Cassette.from_interactions(rows), Redactor(), str, later=True)
    counts = CountedRequests("")
    for key in list(keys.numbers_by_key()):
        counts.count_request(key)
    counts.rename_keys(keys.compute(lambda request: "same"))
    assert keys.numbers_of("same") == [0, 1, 2]
    assert counts.count_of("same") == 2


def outcome_of(session: Session, request: RecordedRequest) -> str:
    decision = session.decide(request)
    if isinstance(decision, RefuseDecision):
        error = decision.explain()
        return f"{type(error).__name__}: {error}"
    assert isinstance(decision, ReplayDecision)
    return decision.interaction.response.body.decode() + (" last" if decision.last else "")


def test_requests_that_equal_the_recorded_ones_need_no_key() -> None:
    identifier = Identifier()
    session = open_session([ONE, OTHER, ONE], identifier, later=True)
    assert [outcome_of(session, request) for request in (ONE, OTHER, ONE)] == ["0", "1 last", "2 last"]
    assert not session.plays.unplayed
    assert identifier.calls == 0


def test_a_request_that_is_the_same_but_not_equal_is_counted_with_the_equal_ones() -> None:
    session = open_session([ONE, ONE, ONE], Identifier(), later=True)
    assert [outcome_of(session, request) for request in (ONE, ONE_WITH_SPACES, ONE)] == ["0", "1", "2 last"]
    assert "PlayedOut" in outcome_of(session, ONE_WITH_SPACES)


@pytest.mark.parametrize("status", [200, 503])
@given(asked=st.lists(st.sampled_from([ONE, ONE_WITH_SPACES, OTHER, UNKNOWN]), max_size=8))
def test_a_session_decides_the_same_whenever_its_keys_are_computed(status: int, asked: list[RecordedRequest]) -> None:
    recorded = [ONE, OTHER, ONE, ONE]
    now = open_session(recorded, Identifier(), later=False, status=status)
    later = open_session(recorded, Identifier(), later=True, status=status)
    for request in asked:
        assert outcome_of(later, request) == outcome_of(now, request)
    assert later.plays.in_order() == now.plays.in_order()


@pytest.mark.parametrize(
    ("url", "body", "expected"),
    [
        (f"{URL}?q=%5Bredacted-2%5D", b"", True),
        (f"{URL}?key=aquila-no-key", b"", True),
        (URL, b'{"said": "[redacted]"}', True),
        (URL, b'{"key": "aquila-no-key"}', True),
        (URL, b'{"key": "another"}', False),
    ],
)
def test_placeholders_and_the_dummy_key_stand_for_secrets(url: str, body: bytes, expected: bool) -> None:
    assert holds_stand_in(RecordedRequest("POST", url, (), body)) is expected


def test_secrets_that_cannot_be_told_apart_here_equal_those_that_could_where_it_was_recorded() -> None:
    recorded = RecordedRequest("POST", URL, JSON, b'{"one": "[redacted]", "other": "[redacted-2]"}')
    session = open_session([recorded], Identifier(), later=False)
    sent = RecordedRequest("POST", URL, JSON, b'{"one": "[redacted]", "other": "[redacted]"}')
    assert outcome_of(session, sent) == "0 last"


def test_plays_are_told_in_the_order_of_their_requests() -> None:
    session = open_session([ONE, OTHER, UNKNOWN], Identifier(), later=False)
    for request in (OTHER, UNKNOWN, ONE):
        session.decide(request)
    assert [played.request for played in session.plays.in_order()] == [OTHER, UNKNOWN, ONE]
