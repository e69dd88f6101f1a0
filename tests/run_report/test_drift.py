"""The differences between a request and the most similar recording, as a report has them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from aquila.cassettes.body_file import BodyFile, StoredChunks, StoredRequest
from aquila.cassettes.matching.match_rules import MatchRules
from aquila.cassettes.model import Cassette, Interaction, RecordedRequest, RecordedResponse
from aquila.cassettes.redaction.redactor import Redactor
from aquila.recording.sessions.session import Session
from aquila.run_report.bodies import Bodies
from aquila.run_report.drift import describe_drift


def asked(prompt: str) -> RecordedRequest:
    body = {"model": "m", "messages": [{"role": "user", "content": prompt}]}
    return RecordedRequest("POST", "https://api.openai.com/v1/chat/completions", body=json.dumps(body).encode())


def test_a_drift_is_told_although_the_file_of_the_recorded_answer_is_missing(tmp_path: Path) -> None:
    body = b'{"choices": [{"message": {"content": "yes"}}]}'
    answer = RecordedResponse(200, (), StoredChunks(BodyFile("sha256-0", len(body), tmp_path), [len(body)], [1]))
    recording = Interaction(asked("one word"), answer, "2026-11-24T12:00:00Z", "live")
    session: Any = SimpleNamespace(cassette=Cassette((recording,)), name="c", redactor=Redactor({}), rules=MatchRules())
    missing = describe_drift(asked("another word"), cast(Session, session), Bodies())
    (tmp_path / "sha256-0").write_bytes(body)
    whole = describe_drift(asked("another word"), cast(Session, session), Bodies())
    assert missing is not None
    assert missing["changes"] == [{"path": "messages[0].content", "was": "one word", "now": "another word"}]
    assert whole == {**missing, "answer_was": "yes"}


def test_a_secret_that_is_known_only_now_is_redacted_in_large_bodies_of_the_recording(tmp_path: Path) -> None:
    def store(body: bytes) -> BodyFile:
        file = BodyFile(f"sha256-{hashlib.sha256(body).hexdigest()}", len(body), tmp_path)
        (tmp_path / file.name).write_bytes(body)
        return file

    secret = "correct-horse-battery-staple"
    small, said = asked(f"one {secret}"), json.dumps({"choices": [{"message": {"content": secret}}]}).encode()
    answer = RecordedResponse(200, (), StoredChunks(store(said), [len(said)], [1]))
    upload = StoredRequest("POST", small.url, (), store(small.body))
    recording = Interaction(upload, answer, "2026-11-24T12:00:00Z", "live")
    redactor = Redactor({secret: "WORDS_SECRET"})
    session: Any = SimpleNamespace(cassette=Cassette((recording,)), name="c", redactor=redactor, rules=MatchRules())
    drift = describe_drift(asked("one word"), cast(Session, session), Bodies())
    assert drift is not None
    assert drift["prompt_now"] == "user: one word"
    assert secret not in str(drift)
