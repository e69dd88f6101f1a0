"""The verdict on each recording that was asked again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from aquila.cassettes.model import Interaction, RecordedChunk, RecordedRequest, RecordedResponse
from aquila.recording.reporting.play_log import PlayedRecording
from aquila.verifying import verification
from aquila.verifying.asking import Answers, AskedOutcome
from aquila.verifying.planning import Plan, PlannedQuestion


def nest(levels: int) -> RecordedResponse:
    body = b'{"a":' * levels + json.dumps("x").encode() + b"}" * levels
    return RecordedResponse(200, (("content-type", "application/json"),), (RecordedChunk(body),))


def test_an_answer_that_is_nested_too_deeply_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    request = RecordedRequest("POST", "https://api.openai.com/v1/chat/completions", (), b"{}")
    outcomes = []
    for number, levels in enumerate([1, 900, 1]):
        played = PlayedRecording(Path("a.yaml"), number, ("test_it",), "live", request)
        recorded = Interaction(request, nest(levels))
        outcomes.append(AskedOutcome(PlannedQuestion(played, recorded, request), nest(levels)))
    monkeypatch.setattr(verification, "ask_questions", lambda *_: Answers(outcomes, interrupted=False))
    found = verification.verify_answers(Plan(), lambda *_: None).recordings
    assert [each.result for each in found] == ["same", "not verifiable", "same"]
    assert found[1].reason == "its answer is nested too deeply to be compared"
