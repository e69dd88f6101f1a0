"""Filters change requests and answers before they are compared and stored, and not what is sent and answered."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

import aquila
from aquila.cassettes.model import Cassette, Interaction, RecordedChunk, RecordedRequest, RecordedResponse
from aquila.cassettes.storage.cassette_files import load_cassette, save_cassette
from aquila.errors import CassetteMiss
from aquila.recording.scope import Scope, bind_scope, current_scope
from aquila.recording.sessions.filters import Filters
from tests.support.runs import name_upstream, separate_run

URL = "https://api.example/v1/things"
SECRET = "sk-proj-" + "aB3dE5gH7jK9mN1pQ3sTuV5wX7yZ9"


@pytest.fixture(autouse=True)
def asked(tmp_path: Path) -> Iterator[list[httpx2.Request]]:
    """What reached the provider. It answers with the number of the request and the header that it got."""
    seen: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        key = request.headers.get("authorization", "")
        return httpx2.Response(
            200, json={"number": len(seen), "got": json.loads(request.content or b"null"), "key": key}
        )

    with separate_run(tmp_path):
        name_upstream("counting", httpx2.MockTransport(answer))
        yield seen


def use(filters: Filters, asks: list[Any], name: str = "x", **settings: Any) -> list[Any]:
    """Ask within a cassette, and return the numbers of the answers."""
    with aquila.use_cassette(name, upstream="counting", **settings), httpx2.Client() as client:
        scope = current_scope()
        assert scope is not None
        scope.use_filters(filters)
        return [
            client.post(URL, json=body, headers={"authorization": f"Bearer {SECRET}"}).json()["number"] for body in asks
        ]


def stored(tmp_path: Path) -> list[tuple[Any, Any]]:
    interactions = load_cassette(tmp_path / "cassettes" / "x.yaml").interactions
    return [(json.loads(each.request.body), json.loads(each.response.body)) for each in interactions]


def without_id(request: RecordedRequest) -> RecordedRequest:
    body = json.loads(request.body)
    body.pop("id", None)
    return RecordedRequest(request.method, request.url, request.headers, json.dumps(body).encode())


def test_a_filtered_request_is_compared_and_stored_and_the_whole_one_is_sent(
    asked: list[httpx2.Request], tmp_path: Path
) -> None:
    filters = Filters(change_request=without_id)
    assert use(filters, [{"a": 1, "id": 1}, {"a": 2, "id": 2}], transport="record") == [1, 2]
    assert [json.loads(each.content) for each in asked] == [{"a": 1, "id": 1}, {"a": 2, "id": 2}]
    assert [request for request, _ in stored(tmp_path)] == [{"a": 1}, {"a": 2}]
    assert use(filters, [{"a": 2, "id": 8}, {"a": 1, "id": 9}]) == [2, 1]
    with pytest.raises(CassetteMiss, match="a: recorded 1, now 3") as missed:
        use(filters, [{"a": 3, "id": 7}])
    assert not re.search(r"\bid\b", str(missed.value))
    # A recording from before there was a filter is compared as if there had been one.
    save_cassette(tmp_path / "cassettes" / "x.yaml", Cassette((recording(json.dumps({"id": 5, "a": 4}).encode()),)))
    assert use(filters, [{"a": 4, "id": 6}]) == [0]
    # And recording on neither doubles it nor leaves it out.
    assert use(filters, [{"a": 4, "id": 1}, {"a": 5, "id": 1}], transport="record") == [0, 3]
    assert [request["a"] for request, _ in stored(tmp_path)] == [4, 5]
    assert use(filters, [{"a": 4, "id": 1}], transport="record", record="all") == [4]
    assert [(request["a"], answer["number"]) for request, answer in stored(tmp_path)] == [(4, 4), (5, 3)]


def recording(body: bytes, number: int = 0) -> Interaction:
    answer = RecordedChunk(json.dumps({"number": number}).encode())
    return Interaction(
        RecordedRequest("POST", URL, (("content-type", "application/json"),), body),
        RecordedResponse(200, (), (answer,)),
    )


def test_a_filtered_answer_is_stored_and_the_caller_gets_the_whole_one(tmp_path: Path) -> None:
    def change(response: RecordedResponse) -> RecordedResponse | None:
        answer = json.loads(response.body)
        if answer["number"] == 2:
            return None
        return replace(response, chunks=(RecordedChunk(json.dumps({**answer, "number": "filtered"}).encode()),))

    filters = Filters(change_response=change)
    assert use(filters, [1, 2, 3], transport="record") == [1, 2, 3]
    assert [(request, answer["number"]) for request, answer in stored(tmp_path)] == [(1, "filtered"), (3, "filtered")]
    assert use(filters, [1, 3]) == ["filtered", "filtered"]
    use(Filters(), [4], "unfiltered", transport="record")
    assert use(filters, [4], "unfiltered") == ["filtered"]
    with pytest.raises(CassetteMiss):
        use(filters, [2])
    # The next run records what was left out, and only that.
    assert use(filters, [1, 2, 3], transport="record") == ["filtered", 5, "filtered"]
    assert len(stored(tmp_path)) == 3


def test_a_large_answer_is_filtered_as_a_whole(tmp_path: Path) -> None:
    name_upstream("counting", httpx2.MockTransport(lambda request: httpx2.Response(200, content=b"x" * 600_000)))

    def shorten(response: RecordedResponse) -> RecordedResponse:
        return replace(response, chunks=(RecordedChunk(b"%d" % len(response.body)),))

    with aquila.use_cassette("x", transport="record", upstream="counting"), httpx2.Client() as client:
        scope = current_scope()
        assert scope is not None
        scope.use_filters(Filters(change_response=shorten))
        assert len(client.post(URL, json=1).content) == 600_000
    assert load_cassette(tmp_path / "cassettes" / "x.yaml").interactions[0].response.body == b"600000"


def test_a_key_that_a_filter_takes_out_of_a_header_is_redacted_everywhere_else(tmp_path: Path) -> None:
    """The prompt and the answer repeat it. It has the form of no known key."""
    name_upstream("counting", httpx2.MockTransport(lambda request: httpx2.Response(200, content=request.content)))

    def ask(transport: str, key: str, said: str = "My key is") -> str:
        with aquila.use_cassette("x", upstream="counting", transport=transport), httpx2.Client() as client:
            scope = current_scope()
            assert scope is not None
            scope.use_filters(Filters(change_request=lambda request: request.with_parts(request.url, ())))
            return client.post(URL, json={"a": f"{said} {key}"}, headers={"authorization": f"Bearer {key}"}).text

    key, other = "quiet-owl-" + "7731-garden-gate", "loud-heron-" + "8842-river-bank"
    assert key in ask("record", key)
    assert key not in (tmp_path / "cassettes" / "x.yaml").read_text()
    assert [request for request, _ in stored(tmp_path)] == [{"a": "My key is [redacted]"}]
    assert "My key is [redacted" in ask("replay", other)
    with pytest.raises(CassetteMiss, match=r"Your key is \[redacted\]") as missed:
        ask("replay", other, "Your key is")
    assert other not in str(missed.value)


def test_a_key_that_a_filter_puts_into_a_stored_request_is_redacted(tmp_path: Path) -> None:
    def add_key(interaction: Interaction) -> Interaction:
        request = replace(interaction.request, body=json.dumps({"key": SECRET}).encode())
        return replace(interaction, request=request)

    assert use(Filters(change_stored=add_key), [{"a": 1}], transport="record") == [1]
    assert [request for request, _ in stored(tmp_path)] == [{"key": "[redacted]"}]


def test_a_value_that_another_tool_stored_though_it_filters_it_out_of_a_header_is_replayed(tmp_path: Path) -> None:
    body = json.dumps({"cart": "quiet-owl-" + "7731-garden-gate"}).encode()
    save_cassette(tmp_path / "cassettes" / "x.yaml", Cassette((recording(body, 7),)))
    with aquila.use_cassette("x", transport="replay"), httpx2.Client() as client:
        scope = current_scope()
        assert scope is not None
        scope.use_filters(Filters(change_request=lambda request: request.with_parts(request.url, ())))
        headers = {"cookie": "cart=quiet-owl-" + "7731-garden-gate"}
        assert client.post(URL, content=body, headers=headers).json() == {"number": 7}


@pytest.mark.parametrize("match_on", [None, ["method"]])
def test_a_comparison_takes_the_place_of_the_rules(match_on: list[str] | None, tmp_path: Path) -> None:
    def parity(one: RecordedRequest, other: RecordedRequest) -> bool:
        return (json.loads(one.body) - json.loads(other.body)) % 2 == 0

    rules: dict[str, Any] = {"match_on": match_on}
    filters = Filters(is_same=parity)
    assert use(filters, [1, 2, 3], transport="record", **rules) == [1, 2, 3]
    assert use(filters, [4, 5, 7], **rules) == [2, 1, 3]
    with pytest.raises(CassetteMiss, match="request number 3 of its kind"):
        use(filters, [5, 5, 5], **rules)
    assert use(filters, [11, 13, 15], transport="record", **rules) == [1, 3, 4]
    assert [request for request, _ in stored(tmp_path)] == [1, 2, 3, 15]
    assert use(filters, [21, 22], transport="record", record="all", **rules) == [5, 6]
    assert [answer["number"] for _, answer in stored(tmp_path)] == [5, 6, 3, 4]


@pytest.mark.parametrize("is_same", [None, lambda request, recorded: request.body == recorded.body])
def test_a_miss_names_a_setting_unless_a_comparison_decides(is_same: Any) -> None:
    use(
        Filters(is_same=is_same), [{"prompt": "hi", "user": "0b3a6f0e-5b0e-4c1b-9f57-0d5a3c1e7d01"}], transport="record"
    )
    with pytest.raises(CassetteMiss) as caught:
        use(Filters(is_same=is_same), [{"prompt": "hi", "user": "77f2c9aa-1c2d-4e8f-8a5b-6d7e8f901234"}])
    assert ("aquila_ignore = " in str(caught.value)) == (is_same is None)


@pytest.mark.parametrize("own", [0, 1, 2])
def test_recordings_of_other_files_answer_after_those_of_the_cassette_and_nothing_is_stored_in_them(
    own: int, tmp_path: Path
) -> None:
    further = Cassette((recording(b'{"a":1}', 10), recording(b'{"a":2}', 20)))
    save = Cassette(tuple(recording(b'{"a":1}', number + 100) for number in range(own)))
    if own:
        save_cassette(tmp_path / "cassettes" / "x.yaml", save)
    filters = Filters(load_further=lambda: further)
    first = [{"a": 1}] * (own + 1) + [{"a": 2}]
    answers = [*range(100, 100 + own), 10, 20]
    assert use(filters, first) == answers
    assert use(filters, [*first, {"a": 1}], transport="record") == [*answers, 1]
    numbers = [answer["number"] for _, answer in stored(tmp_path)]
    assert numbers == [*range(100, 100 + own), 1]
    # What was recorded comes before what other files have.
    assert use(filters, [{"a": 1}] * (own + 2)) == [*numbers, 10]


def test_filters_hold_within_blocks_and_end_with_their_scope() -> None:
    outer = Scope(kind="block", name="outer")
    filters = Filters()
    outer.use_filters(filters)
    inner = Scope(kind="block", name="inner")
    inner.nest_within(outer)
    before = bind_scope(None)
    assert (inner.filters, outer.filters) == (filters, filters)
    assert Scope(kind="block").filters is None
    bind_scope(before)


def test_a_stored_request_that_a_filter_leaves_out_answers_nothing_and_stays_in_the_file(tmp_path: Path) -> None:
    save_cassette(
        tmp_path / "cassettes" / "x.yaml", Cassette((recording(b"1", 100), recording(b"2", 200), recording(b"1", 101)))
    )
    filters = Filters(change_request=lambda request: None if request.body == b"2" else request)
    assert use(filters, [1, 1, 3], transport="record") == [100, 101, 1]
    assert [answer["number"] for _, answer in stored(tmp_path)] == [100, 200, 101, 1]


def test_a_miss_is_found_in_another_cassette_without_a_comparison_of_each_two_recordings() -> None:
    compared = 0

    def same_body(request: RecordedRequest, recorded: RecordedRequest) -> bool:
        nonlocal compared
        compared += 1
        return request.body == recorded.body

    use(Filters(), list(range(20)), name="other", transport="record", record="all")
    use(Filters(), ["mine"], transport="record", record="all")
    with pytest.raises(CassetteMiss, match=r"The same request is recorded in .*other\.yaml"):
        use(Filters(is_same=same_body), [7])
    assert compared < 20  # with the recording of its own cassette alone, in several steps
