"""Attempts of one call of a client are told from other calls with the same request."""

from __future__ import annotations

import pytest

from aquila.cassettes.matching.match_rules import MatchRules
from aquila.cassettes.matching.miss_message import Explanation
from aquila.cassettes.model import Cassette, Interaction, RecordedRequest, RecordedResponse
from aquila.cassettes.redaction.redactor import Redactor
from aquila.recording.sessions.client_calls import OpenCalls
from aquila.recording.sessions.session import Session
from aquila.recording.sessions.session_decisions import RecordDecision, ReplayDecision


def attempt(number: int) -> RecordedRequest:
    """A request that says how often it was sent before."""
    return RecordedRequest("POST", "https://x.example/v1", (("x-stainless-retry-count", str(number)),))


def test_an_attempt_belongs_to_the_call_that_has_made_one_attempt_less() -> None:
    calls = OpenCalls()
    one = calls.add_call("key", attempt(0))
    assert calls.find_call("key", attempt(1)) is one
    other = calls.add_call("key", attempt(0))
    assert calls.find_call("key", attempt(2)) is one
    assert calls.find_call("key", attempt(1)) is other
    assert calls.find_call("key", attempt(5)) is None
    assert calls.find_call("another key", attempt(3)) is None


@pytest.mark.parametrize(("mode", "second"), [("replay", ReplayDecision), ("missing", RecordDecision)])
def test_a_recorded_failure_without_a_number_of_attempts_ends_a_call_only_in_replay_mode(
    mode: str, second: type
) -> None:
    """Recordings of other tools have no such number. The next attempt may be answered, so it is recorded."""
    failure = Interaction(attempt(0), RecordedResponse(503))
    session = Session(
        "name",
        Cassette((failure,)),
        mode=mode,
        rules=MatchRules(),
        identify_request=lambda request: request.url,
        redactor=Redactor(),
        explain_miss=lambda missed: Explanation("miss"),
    )
    first = session.decide(attempt(0))
    assert isinstance(first, ReplayDecision)
    again = session.decide(attempt(1))
    assert type(again) is second
    if isinstance(again, ReplayDecision):
        assert again.interaction is failure
