"""A run that verifies notes which recordings it has replayed, and the requests as they were sent."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

import aquila
from aquila.cassettes.model import Cassette, Interaction, RecordedChunk, RecordedRequest, RecordedResponse
from aquila.cassettes.storage.cassette_files import save_cassette
from aquila.recording.reporting.child_messages import ChildMessages
from aquila.recording.reporting.play_log import PlayLog
from aquila.recording.runtime import Run, current_run
from aquila.recording.scope import bind_scope, current_scope
from aquila.recording.scope_joining import ScopeReference, join_scope
from aquila.recording.sessions.filters import Filters
from tests.support.runs import separate_run

URL = "https://api.openai.com/v1/chat/completions"


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    rows = [recording(body) for body in ({"a": "left out"}, {"a": 1}, {"a": 2})]
    save_cassette(tmp_path / "cassettes" / "x.yaml", Cassette(tuple(rows)))
    with separate_run(tmp_path, defaults={"transport": "replay"}) as made:
        made.play_log, made.runs_tests = PlayLog(), True
        yield made


def recording(body: object) -> Interaction:
    request = RecordedRequest("POST", URL, (("content-type", "application/json"),), json.dumps(body).encode())
    return Interaction(request, RecordedResponse(200, (), (RecordedChunk(b"{}"),)))


def ask(*bodies: object, filters: Filters | None = None, faults: str | None = None) -> None:
    with aquila.use_cassette("x", faults=faults), httpx2.Client() as client:
        scope = current_scope()
        assert scope is not None
        if filters is not None:
            scope.use_filters(filters)
        for body in bodies:
            client.post(URL, json=body, headers={"authorization": "Bearer x"})


def numbers(log: PlayLog | None) -> list[int]:
    assert log is not None
    return [each.number for each in log.recordings()]


def test_each_recording_is_noted_once_with_the_request_that_it_answered(run: Run, tmp_path: Path) -> None:
    ask({"a": 2}, {"a": 1})
    ask({"a": 1})
    assert run.play_log is not None
    played = run.play_log.recordings()
    assert [(each.path, each.number) for each in played] == [
        (tmp_path / "cassettes" / "x.yaml", 1),
        (tmp_path / "cassettes" / "x.yaml", 2),
    ]
    assert all(each.request is not None and each.request.first_header("authorization") for each in played)


def test_filters_change_neither_the_number_nor_the_request_that_is_sent_again(run: Run) -> None:
    def change(request: RecordedRequest) -> RecordedRequest | None:
        body = json.loads(request.body)
        body.pop("id", None)
        if body["a"] == "left out":
            return None
        return RecordedRequest(request.method, request.url, request.headers, json.dumps(body).encode())

    def shorten(response: RecordedResponse) -> RecordedResponse:
        return replace(response, headers=())

    ask({"a": 1, "id": 7}, filters=Filters(change_request=change, change_response=shorten))
    assert run.play_log is not None
    (played,) = run.play_log.recordings()
    assert (played.number, played.is_filtered, played.change_response) == (1, True, shorten)
    assert played.request is not None
    assert json.loads(played.request.body) == {"a": 1, "id": 7}


def test_a_recording_of_another_file_is_not_noted(run: Run, tmp_path: Path) -> None:
    further = Cassette((recording({"a": 3}),))
    ask({"a": 3}, {"a": 2}, filters=Filters(load_further=lambda: further))
    assert numbers(run.play_log) == [2]
    (tmp_path / "cassettes" / "x.yaml").unlink()  # as of a test of vcrpy that has recorded nothing of its own
    ask({"a": 3}, filters=Filters(load_further=lambda: further))
    assert numbers(run.play_log) == [2]


def test_a_child_tells_its_parent_of_all_but_faulty_answers(run: Run, tmp_path: Path) -> None:
    told = run.state_of(ChildMessages)
    told.files.folder = str(tmp_path)
    parent, run.play_log, run.runs_tests = run.play_log, PlayLog(), False
    ask({"a": 2}, faults="rate_limit")
    ask({"a": 1})
    with (tmp_path / "recordings").open("a") as file:
        file.write("[not whole\n")  # of one that was killed
    assert parent is not None
    parent.take_from_children(told)
    assert numbers(parent) == [1]
    request = parent.recordings()[0].request
    assert request is not None
    assert json.loads(request.body) == {"a": 1}


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # it may have threads, as pytest's workers do
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_tells_its_parent(run: Run, tmp_path: Path) -> None:
    run.state_of(ChildMessages).files.folder = str(tmp_path)
    child = os.fork()
    if child == 0:
        try:
            ask({"a": 2})
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert current_run().play_log is run.play_log
    assert run.play_log is not None
    run.play_log.take_from_children(run.state_of(ChildMessages))
    assert numbers(run.play_log) == [2]


def test_a_run_that_does_not_verify_notes_nothing(run: Run) -> None:
    unused, run.play_log = run.play_log, None
    ask({"a": 1})
    assert run.play_log is None
    assert numbers(unused) == []


def test_a_play_in_a_joined_scope_is_noted_at_once(run: Run) -> None:
    joined = join_scope(ScopeReference("0123456789abcdef", "a test of another process", "x"))
    before = bind_scope(joined)
    try:
        with aquila.http_client() as client:
            client.post(URL, json={"a": 1})
        assert run.play_log is not None
        assert run.play_log.recordings()[0].tests == ("a test of another process",)
    finally:
        bind_scope(before)
        joined.close()
