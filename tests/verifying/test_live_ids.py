"""Replacing the ids of recorded answers by those of live answers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aquila.cassettes.model import Interaction, RecordedChunk, RecordedRequest, RecordedResponse
from aquila.verifying.live_ids import LostId, map_ids, replace_ids


def answer(*values: Any) -> RecordedResponse:
    lines = [b"data: " + json.dumps(value).encode() + b"\n\n" for value in values]
    body = json.dumps(values[0]).encode() if len(values) == 1 else b"".join(lines)
    return RecordedResponse(200, (), (RecordedChunk(body),))


def ids(then: RecordedResponse, now: RecordedResponse) -> dict[str, str | None]:
    return map_ids(Interaction(RecordedRequest("POST", "https://x.example/v1/responses"), then), now)


def call(id: str) -> dict[str, str]:
    return {"type": "function_call", "call_id": id, "name": "f"}


THINKING = {"type": "reasoning", "id": "rs_new"}


@pytest.mark.parametrize(
    ("then", "now", "expected"),
    [
        ([{"id": "resp_old"}], [{"id": "resp_new"}], {"resp_old": "resp_new"}),
        (
            [{"id": "resp_old", "output": [call("call_a"), call("call_b")]}],
            [{"id": "resp_new", "output": [THINKING, call("call_c"), call("call_d")]}],  # the model thinks first, now
            {"resp_old": "resp_new", "call_a": "call_c", "call_b": "call_d"},
        ),
        (
            [{"id": "resp_old", "output": [call("call_a")]}],
            [{"id": "resp_new", "output": [{"type": "message"}]}],
            {"resp_old": "resp_new", "call_a": None},
        ),
        (
            [
                {"type": "response.created", "response": {"id": "resp_old"}},
                {"type": "done", "response": {"id": "resp_old"}},
            ],
            [{"type": "response.queued"}, {"type": "response.created", "response": {"id": "resp_new"}}],
            {"resp_old": "resp_new"},
        ),
        ([{"name": "files/old"}], [{"name": "files/new"}], {"files/old": "files/new", "old": "new"}),
        ([{"name": "files/old"}], [{"state": "FAILED"}], {"files/old": None, "old": None}),
        ([{"id": "12345678"}], [{"id": "87654321"}], {}),  # a number may stand for anything
    ],
)
def test_a_recorded_id_is_mapped_to_the_live_id_at_the_same_place(
    then: list[Any], now: list[Any], expected: dict[str, Any]
) -> None:
    assert ids(answer(*then), answer(*now)) == expected


def test_ids_in_the_url_of_a_header_field_are_mapped() -> None:
    then, now = (
        RecordedResponse(202, (("location", f"https://x.example/jobs/{id}?order=desc"),)) for id in ("old", "new")
    )
    request = RecordedRequest("GET", "https://x.example/jobs/old?order=desc")
    assert replace_ids(request, ids(then, now)).url == "https://x.example/jobs/new?order=desc"


def test_ids_are_replaced_in_url_headers_and_body_of_a_request() -> None:
    body = {"previous_response_id": "resp_old", "input": [{"call_id": "call_a", "output": "\ud83d resp_old is quoted"}]}
    headers = (("x-after", "resp_old"), ("x-note", "resp_old and more"))
    request = RecordedRequest("POST", "https://x.example/v1/responses/resp_old", headers, json.dumps(body).encode())
    asked = replace_ids(request, {"resp_old": "resp_new", "call_a": "call_b"})
    assert asked.url.endswith("/resp_new")
    assert asked.headers == (("x-after", "resp_new"), ("x-note", "resp_old and more"))
    assert json.loads(asked.body) == {
        "previous_response_id": "resp_new",
        "input": [{"call_id": "call_b", "output": "\ud83d resp_old is quoted"}],
    }
    with pytest.raises(LostId, match=r"input\[0\].call_id names call_a"):
        replace_ids(request, {"resp_old": "resp_new", "call_a": None})


@pytest.mark.parametrize(
    ("named", "sent"),
    [
        ("/threads/t_1/runs/t_12", "/threads/t_7/runs/t_1"),
        ("/runs?after=t_1&limit=1", "/runs?after=t_7&limit=1"),
        ("/agents/t_1:query?agent=a%20b", "/agents/t_7:query?agent=c%2Fd"),
        ("/runs/t_1x?after=t_1x", "/runs/t_1x?after=t_1x"),
        (
            "/checkpoints/ft:m:t_1:x/permissions?after=Zg==&x=t_1",
            "/checkpoints/ft:m:t_7:y/permissions?after=aA%3D%3D&x=t_7",
        ),
        ("/a?=t_1&t_1&;=&after=t_1:x", "/a?=t_7&t_7&;=&after=t_7:x"),
    ],
)
def test_whole_words_of_a_url_are_replaced(named: str, sent: str) -> None:
    request = RecordedRequest("POST", f"https://t_1.example:443/v1{named}")
    asked = replace_ids(
        request, {"t_1": "t_7", "t_12": "t_1", "a b": "c/d", "ft:m:t_1:x": "ft:m:t_7:y", "Zg==": "aA=="}
    )
    assert asked.url == f"https://t_1.example:443/v1{sent}"


def test_a_body_that_is_not_json_stays_unchanged() -> None:
    request = RecordedRequest("POST", "https://x.example/v1/responses", (), b"\xff call_a")
    assert replace_ids(request, {"call_a": "call_b"}) == request
