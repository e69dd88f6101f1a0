"""A review of a conversation that was recorded anew: its ids are others, and nothing else need be."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aquila.cassettes.model import Interaction, RecordedChunk, RecordedRequest, RecordedResponse
from tests.review.test_reviewing import compare

API = "https://api.openai.com/v1"
JSON = (("content-type", "application/json"),)


def exchange(method: str, path: str, sent: Any, answered: Any) -> Interaction:
    request = RecordedRequest(method, API + path, JSON, json.dumps(sent).encode() if sent else b"")
    chunk = RecordedChunk(json.dumps(answered).encode(), 1)
    return Interaction(request, RecordedResponse(200, JSON, (chunk,), started=0, ended=1), "2026-11-24T12:00:00Z")


def batch(run: str, *, window: str = "24h", polled: str = "batch", status: str = "completed") -> list[Interaction]:
    """A file, a batch of it, and two looks at that batch. ``run`` makes the ids, as a provider does."""
    file, made = f"file-9f86d081884c7d65{run}", f"batch_2c26b46b68ffc68f{run}"
    looked_at = {"batch": made, "file": file}[polled]
    return [
        exchange("POST", "/files", {"purpose": "batch"}, {"id": file, "object": "file"}),
        exchange("POST", "/batches", {"input_file_id": file, "completion_window": window}, {"id": made}),
        exchange("GET", f"/batches/{looked_at}", None, {"id": made, "status": "validating", "input_file_id": file}),
        exchange("GET", f"/batches/{looked_at}", None, {"id": made, "status": status, "input_file_id": file}),
    ]


@pytest.mark.parametrize(
    ("now", "kinds"),
    [
        (batch("0b0b"), ["details"] * 4),
        (batch("0b0b", window="48h"), ["prompt", "details", "details", "details"]),
        (batch("0b0b", status="failed"), ["answer", "details", "details", "details"]),
        (batch("0b0b", polled="file"), ["prompt", "prompt", "details", "details"]),
    ],
)
def test_a_request_that_names_the_same_things_by_other_ids_asks_the_same(
    now: list[Interaction], kinds: list[str]
) -> None:
    found = compare(batch("0a0a"), now).proposals
    assert [one.kind for one in found] == kinds
    assert len({one.chain for one in found}) == 1


def test_another_id_that_no_answer_gave_is_another_request() -> None:
    one, other = (exchange("GET", f"/files/file-2c26b46b68ffc68f{end}", None, {"id": "x"}) for end in ("0a", "0b"))
    assert [each.kind for each in compare([one], [other]).proposals] == ["prompt"]
