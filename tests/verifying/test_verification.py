"""The verdict on each recording that was asked again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from aquila.cassettes.model import Interaction, RecordedChunk, RecordedRequest, RecordedResponse
from aquila.recording.reporting.play_log import PlayedRecording
from aquila.recording.sessions.filters import ResponseFilter
from aquila.verifying import verification
from aquila.verifying.asking import Answers, AskedOutcome
from aquila.verifying.planning import Plan, PlannedQuestion
from aquila.verifying.verification import Verification

REQUEST = RecordedRequest("POST", "https://api.openai.com/v1/chat/completions", (), b"{}")


def nest(levels: int) -> RecordedResponse:
    body = b'{"a":' * levels + json.dumps("x").encode() + b"}" * levels
    return RecordedResponse(200, (("content-type", "application/json"),), (RecordedChunk(body),))


@pytest.fixture
def verify(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Verification]:
    """Returns the verdicts on recordings that were asked again and got these answers; None stands for no answer."""

    def verify(*answers: tuple[RecordedResponse, RecordedResponse | None, ResponseFilter | None]) -> Verification:
        outcomes = []
        for number, (then, now, change) in enumerate(answers):
            played = PlayedRecording(Path("a.yaml"), number, ("test_it",), "live", REQUEST, change_response=change)
            outcomes.append(AskedOutcome(PlannedQuestion(played, Interaction(REQUEST, then), REQUEST), now, "no key"))
        monkeypatch.setattr(verification, "ask_questions", lambda *_: Answers(outcomes, interrupted=False))
        return verification.verify_answers(Plan(), lambda *_: None)

    return verify


def test_an_answer_that_is_nested_too_deeply_does_not_stop_the_others(verify: Callable[..., Verification]) -> None:
    found = verify(*[(nest(levels), nest(levels), None) for levels in (1, 900, 1)]).recordings
    assert [each.result for each in found] == ["same", "not verifiable", "same"]
    assert found[1].reason == "its answer is nested too deeply to be compared"


def test_a_live_answer_is_compared_as_the_filter_of_its_test_stores_it(verify: Callable[..., Verification]) -> None:
    def shorten(answer: RecordedResponse) -> RecordedResponse:
        return nest(1)

    def fail(answer: RecordedResponse) -> RecordedResponse:
        raise ValueError("no such field")

    found = verify(*[(nest(1), nest(2), change) for change in (None, shorten, fail, lambda answer: None)]).recordings
    assert [(each.result, each.reason) for each in found] == [
        ("critical", ""),
        ("same", ""),
        ("not verifiable", "the filter of its test raised ValueError for the live answer"),
        ("not verifiable", "the filter of its test stores no such answer"),
    ]


def test_requests_without_any_answer_were_sent_in_vain(verify: Callable[..., Verification]) -> None:
    assert verify((nest(1), None, None)).asked_in_vain
    assert not verify((nest(1), None, None), (nest(1), nest(1), None)).asked_in_vain
    assert not verify().asked_in_vain
