"""Which recording answers a request that is sent again, and in a run that looks for drift, one that none has."""

from __future__ import annotations

import pytest

from aquila.cassettes.matching.match_rules import MatchRules
from aquila.cassettes.matching.miss_message import Explanation
from aquila.cassettes.model import Cassette, Interaction, RecordedRequest, RecordedResponse
from aquila.cassettes.redaction.redactor import Redactor
from aquila.recording.sessions.session import Session
from aquila.recording.sessions.session_decisions import ReplayDecision

RECORDED = ("a", "a", "b", "b")


def request(name: str) -> RecordedRequest:
    return RecordedRequest("POST", f"https://x.example/{name}")


def play(names: str, stand_in: int | None, repeat: str = "error", *, looks_for_drift: bool = True) -> list[int]:
    """Send requests in a session whose recordings are ``RECORDED``; return the numbers of those that answer."""
    interactions = tuple(Interaction(request(name), RecordedResponse(200 + n)) for n, name in enumerate(RECORDED))
    session = Session(
        "name",
        Cassette(interactions),
        mode="replay",
        rules=MatchRules(),
        identify_request=lambda request: request.url,
        redactor=Redactor(),
        explain_miss=lambda missed: Explanation("miss"),
        repeat=repeat,
    )
    if looks_for_drift:
        session.find_stand_in = lambda missed: stand_in
    played = []
    for name in names:
        decision = session.decide(request(name))
        assert isinstance(decision, ReplayDecision)
        played.append(interactions.index(decision.interaction))
    return played


@pytest.mark.parametrize(("repeat", "played"), [("last", [0, 1, 1, 2, 1]), ("first", [0, 0, 0, 2, 0])])
def test_a_request_that_is_sent_again_gets_the_recording_that_the_setting_names(repeat: str, played: list[int]) -> None:
    assert play("aaaba", None, repeat, looks_for_drift=False) == played


@pytest.mark.parametrize("nearest", [None, 2])
def test_a_request_that_is_sent_too_often_gets_the_last_of_its_own_recordings(nearest: int | None) -> None:
    assert play("aaa", nearest) == [0, 1, 1]


def test_a_request_without_recordings_gets_those_of_the_nearest_one_in_their_order() -> None:
    assert play("cccb", 3) == [2, 3, 3, 2]


def test_with_repeat_first_a_request_without_recordings_gets_the_first_of_the_nearest_one() -> None:
    assert play("cc", 3, repeat="first") == [2, 2]
