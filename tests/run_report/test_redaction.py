"""What a report shows of a recording, after a secret has become known that was not known when it was recorded."""

from __future__ import annotations

from pathlib import Path

import pytest

from aquila.cassettes.body_file import BodyFile, StoredRequest
from aquila.cassettes.model import Interaction, RecordedChunk, RecordedRequest, RecordedResponse
from aquila.cassettes.redaction.redactor import Redactor
from aquila.run_report.redaction import ExchangeRedactor

SECRET = "correct-horse-battery-staple"


@pytest.mark.parametrize("upstream", ["live", ""])
@pytest.mark.parametrize("place", ["body", "header"])
def test_a_secret_that_is_known_only_now_is_redacted_wherever_the_response_has_it(place: str, upstream: str) -> None:
    headers = (("x-echo", SECRET if place == "header" else "hello"),)
    chunks = (RecordedChunk(f"said {SECRET if place == 'body' else 'hello'}".encode(), 0),)
    request = RecordedRequest("POST", "https://provider.example/v1/x", body=b"{}")
    recording = Interaction(request, RecordedResponse(200, headers, chunks), "2026-11-24T12:00:00Z", upstream)
    shown = ExchangeRedactor([Redactor({SECRET: "WORDS_SECRET"})]).clean_recording(recording).response
    assert SECRET not in f"{shown.headers} {shown.body!r}"
    assert shown.headers[0][0] == "x-echo"
    assert shown.body.startswith(b"said ")


def test_a_recording_of_another_tool_is_searched_for_whatever_looks_like_a_key() -> None:
    key = "sk-proj-" + "aB3dE5gH7jK9mN1pQ3sTuV5wX7yZ9" * 2
    request = RecordedRequest("POST", "https://provider.example/v1/x", body=b"{}")
    response = RecordedResponse(200, (("x-echo", key),), (RecordedChunk(f"said {key}".encode(), 0),))
    recording = Interaction(request, response, "2026-11-24T12:00:00Z", upstream="")
    shown = ExchangeRedactor([Redactor({})]).clean_recording(recording).response
    assert key[8:] not in f"{shown.headers} {shown.body!r}"


def test_a_secret_that_is_known_only_now_is_redacted_in_the_url_of_a_large_upload(tmp_path: Path) -> None:
    file = BodyFile("sha256-0", 2, tmp_path)  # does not exist: it is not read
    upload = StoredRequest("POST", f"https://provider.example/v1/files?k={SECRET}", (("accept", SECRET),), file)
    recording = Interaction(upload, RecordedResponse(200), "2026-11-24T12:00:00Z", "live")
    shown = ExchangeRedactor([Redactor({SECRET: "WORDS_SECRET"})]).clean_recording(recording).request
    assert SECRET not in f"{shown.url} {shown.headers}"
    assert shown == StoredRequest("POST", shown.url, shown.headers, file)
