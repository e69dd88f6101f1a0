"""Which recordings belong together."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aquila.cassettes.matching import linked_recordings
from aquila.cassettes.matching.linked_recordings import GivenIds, find_conversation
from aquila.cassettes.matching.provider_ids import ids_given_by, ids_named_by
from aquila.cassettes.model import Interaction, RecordedChunk, RecordedRequest, RecordedResponse


def recording(body: Any, answer: Any, path: str = "responses") -> Interaction:
    request = RecordedRequest("POST", f"https://provider.example/v1/{path}", (), json.dumps(body).encode())
    return Interaction(request, RecordedResponse(200, (), (RecordedChunk(json.dumps(answer).encode()),)))


def turn(id: str, before: str | None = None, **more: Any) -> Interaction:
    body = {"input": f"to get {id}", **more}
    return recording(body | ({"previous_response_id": before} if before else {}), {"id": id})


def given_ids(*recordings: Interaction) -> GivenIds:
    return GivenIds(recordings, [each.request.body.decode() for each in recordings])


def conversation(start: int, *recordings: Interaction) -> list[int]:
    return [number for _, number in find_conversation([(0, start)], [given_ids(*recordings)])]


CHAIN = (turn("a"), turn("x"), turn("b", "a"), turn("y", "x"), turn("c", "b"))


def test_a_chain_is_found_from_each_of_its_recordings() -> None:
    assert [conversation(start, *CHAIN) for start in (0, 2, 4)] == [[0, 2, 4]] * 3
    assert [conversation(start, *CHAIN) for start in (1, 3)] == [[1, 3]] * 2


def test_what_names_nothing_stands_alone() -> None:
    assert conversation(1, turn("a"), turn("b"), turn("c")) == [1]


def test_everything_that_uses_a_file_belongs_to_its_upload() -> None:
    upload = recording({}, {"id": "file-1"}, "files")
    one, other = ({"content": [{"file_id": "file-1"}], "about": about} for about in ("one", "other"))
    assert conversation(2, upload, recording(one, {"id": "a"}), recording(other, {"id": "b"})) == [0, 1, 2]


def test_an_id_that_the_client_had_before_any_answer_is_its_own() -> None:
    search = {"tools": [{"vector_store_ids": ["vs_1"]}]}
    echo = {"vector_store_ids": ["vs_1"]}
    recordings = (
        recording({**search, "n": n}, {"id": f"resp_{n}", "tools": [{**echo, "vector_store_id": "vs_1"}]})
        for n in range(3)
    )
    given = given_ids(*recordings)
    assert given.find_in(ids_named_by(recording({**search, "n": 3}, {}).request)) == []


def get(path: str, answer: Any) -> Interaction:
    made = recording({}, answer, path)
    return Interaction(RecordedRequest("GET", made.request.url), made.response)


def test_only_as_many_recordings_are_read_as_a_question_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Interaction] = []

    def note(each: Interaction) -> frozenset[str]:
        read.append(each)
        return ids_given_by(each)

    monkeypatch.setattr(linked_recordings, "ids_given_by", note)
    recordings = [turn(f"answer-{n}") for n in range(5)]
    given = given_ids(*recordings)
    assert given.find_in(ids_named_by(turn("new").request)) == []  # names parts of the path that the first has, too
    assert read == recordings[:1]
    assert [each.number for each in given.find_in(ids_named_by(turn("new", "answer-2").request))] == [2]
    assert read == recordings[:3]
    assert set(given.values()) == {f"answer-{n}" for n in range(5)}
    assert read == recordings


def test_an_answer_that_lists_an_id_leaves_it_to_the_answer_that_makes_it() -> None:
    files = RecordedRequest("GET", "https://provider.example/v1/files")
    listed = Interaction(files, recording({}, {"data": [{"id": "file-1"}]}).response)
    given = given_ids(listed, recording({}, {"id": "file-1"}, "files"))
    assert [each.number for each in given.find_in({"file-1": "file_id"})] == [1]


def test_what_a_provider_has_anyway_is_given_by_nothing() -> None:
    listed = get("files", {"data": [{"id": "file-1"}], "last_id": "file-1"})
    asking = recording({"content": [{"file_id": "file-1"}]}, {"id": "resp_1"})
    assert given_ids(listed).find_in(ids_named_by(asking.request)) == []
    assert conversation(0, listed, asking) == [0]


def test_what_a_conversation_has_made_meanwhile_belongs_to_it() -> None:
    batch = recording({"input": "…"}, {"id": "batch_1"}, "batches")
    polled = get("batches/batch_1", {"id": "batch_1", "output_file_id": "file-1"})
    assert conversation(2, batch, polled, get("files/file-1/content", {})) == [0, 1, 2]


def test_requests_that_cannot_be_told_apart_stay_together() -> None:
    assert conversation(0, turn("a", input="hello"), turn("b", input="hello"), turn("c", "b")) == [0, 1, 2]


def test_a_conversation_may_go_through_several_cassettes() -> None:
    first, second = given_ids(turn("a"), turn("z")), given_ids(turn("y"), turn("b", "a"))
    assert find_conversation([(1, 1)], [first, second]) == [(0, 0), (1, 1)]


@given(st.lists(st.integers(-1, 7), max_size=8), st.data())
def test_a_conversation_is_the_same_from_all_that_is_in_it(parents: list[int], data: st.DataObject) -> None:
    recordings = [turn(f"id_{at}", f"id_{of}" if 0 <= of < at else None) for at, of in enumerate(parents)]
    if not recordings:
        return
    start = data.draw(st.integers(0, len(recordings) - 1))
    found = conversation(start, *recordings)
    assert start in found
    assert all(conversation(each, *recordings) == found for each in found)
