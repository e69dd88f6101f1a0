"""Requests and answers on their way to functions of vcrpy and back."""

from __future__ import annotations

import io
from typing import Any

import pytest
import vcr
from hypothesis import given
from hypothesis import strategies as st

from aquila.cassettes.model import RecordedChunk, RecordedRequest, RecordedResponse
from aquila.vcr.forms import (
    from_vcr_request,
    from_vcr_response,
    request_from_vcr,
    to_vcr_request,
    to_vcr_response,
)

NAMES = st.sampled_from(["accept", "content-type", "x-one", "x-two"])
HEADERS = st.lists(st.tuples(NAMES, st.text("abc;=/ ", max_size=4)), max_size=5).map(tuple)
REQUESTS = st.builds(
    RecordedRequest,
    st.sampled_from(["GET", "POST"]),
    st.sampled_from(["https://a.example/", "https://a.example:8443/b?x=1&y=%20&x=", "http://[::1]/ä"]),
    HEADERS,
    st.binary(max_size=20),
)
RESPONSES = st.builds(
    RecordedResponse,
    st.sampled_from([200, 404, 599]),
    HEADERS,
    st.lists(st.builds(RecordedChunk, st.binary(min_size=1, max_size=5), st.integers(0, 9)), max_size=3).map(tuple),
    st.sampled_from(["complete", "closed", "broken"]),
)


@given(REQUESTS)
def test_a_request_that_nothing_changes_is_the_same_object(request: RecordedRequest) -> None:
    assert from_vcr_request(to_vcr_request(request), request) is request


@given(RESPONSES)
def test_an_answer_that_nothing_changes_keeps_its_chunks_and_times(response: RecordedResponse) -> None:
    assert from_vcr_response(to_vcr_response(response), response).chunks == response.chunks
    assert from_vcr_response(to_vcr_response(response), response) == response


def test_header_fields_of_an_answer_are_a_dict_in_which_names_of_any_case_are_found() -> None:
    fields = to_vcr_response(RecordedResponse(200, (("link", "a"), ("x-one", "b")), ()))["headers"]
    assert isinstance(fields, dict)
    assert fields == {"link": ["a"], "x-one": ["b"]}
    assert "Link" in fields
    assert 1 not in fields
    assert fields["Link"] is fields.get("LINK") is fields.setdefault("Link", [])
    assert fields.copy().pop("Link") == ["a"]
    changed = {"status": {"code": 200}, "headers": {**fields, "Link": ["hidden"]}, "body": {"string": b""}}
    assert from_vcr_response(changed, RecordedResponse(200)).headers == (("link", "hidden"), ("x-one", "b"))
    fields["X-ONE"] = ["c"]
    fields.update({"X-Two": ["d"]})
    assert (fields.pop("X-Three", None), fields.pop("Link")) == (None, ["a"])
    assert fields == {"x-one": ["c"], "x-two": ["d"]}
    del fields["X-One"], fields["X-Two"]
    assert not fields


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (None, b""),
        ("text", b"text"),
        (bytearray(b"x"), b"x"),
        ({"a": [1, "ä"]}, '{"a":[1,"ä"]}'.encode()),
        (io.BytesIO(b"file"), b"file"),
        (iter([b"a", b"b"]), b"ab"),
    ],
)
def test_a_body_of_any_kind_that_a_filter_gives_becomes_bytes(given: Any, sent: bytes) -> None:
    original = RecordedRequest("POST", "https://a.example/", (("content-type", "application/json"),), b"before")
    changed = to_vcr_request(original)
    changed.body = given
    assert from_vcr_request(changed, original).body == sent


def test_a_form_that_a_filter_gives_becomes_a_form() -> None:
    kind = (("content-type", "application/x-www-form-urlencoded"),)
    original = RecordedRequest("POST", "https://a.example/", kind, b"a=1")
    changed = to_vcr_request(original)
    changed.body = {"a": "2", "b": ["3", "4"]}
    assert from_vcr_request(changed, original).body == b"a=2&b=3&b=4"


def test_the_pairs_that_aiohttp_sends_as_a_form_become_one() -> None:
    changed = vcr.Request("POST", "https://a.example/", [("a", "1 ä"), ["b", "2"], ("a", "3")], {})
    form = request_from_vcr(changed)
    assert form.body == b"a=1+%C3%A4&b=2&a=3"
    assert form.headers == (("content-type", "application/x-www-form-urlencoded"),)
    changed.headers["Content-Type"] = "application/json"
    assert request_from_vcr(changed).body == '[["a","1 ä"],["b","2"],["a","3"]]'.encode()


def test_fields_that_are_sent_several_times_stay_unless_they_are_changed() -> None:
    headers = (("accept", "a"), ("x-one", "1"), ("accept", "b"))
    original = RecordedRequest("GET", "https://a.example/", headers, b"")
    changed = to_vcr_request(original)
    changed.headers["X-Two"] = ["2"]
    assert from_vcr_request(changed, original).headers == (*headers, ("x-two", "2"))
    changed.headers["Accept"] = "c"
    assert from_vcr_request(changed, original).headers == (("x-one", "1"), ("accept", "c"), ("x-two", "2"))
    del changed.headers["x-one"]
    assert from_vcr_request(changed, original).headers == (("accept", "c"), ("x-two", "2"))


def test_an_answer_of_an_old_cassette_of_httpx_is_read() -> None:
    changed = {"status_code": 201, "headers": {"a": ["1"]}, "content": "text"}
    assert from_vcr_response(changed, RecordedResponse(200)) == RecordedResponse(
        201, (("a", "1"),), (RecordedChunk(b"text"),)
    )
