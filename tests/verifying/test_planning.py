"""Which recordings are asked again, in which order, and why the others are not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aquila.cassettes.body_file import BodyFile, StoredRequest
from aquila.cassettes.model import Cassette, Interaction, RecordedChunk, RecordedRequest, RecordedResponse
from aquila.cassettes.storage.cassette_files import save_cassette
from aquila.recording.reporting.play_log import PlayedRecording, PlayLog
from aquila.verifying.planning import Plan, Sample, make_plan
from tests.support.runs import separate_run

CHAT = "https://api.openai.com/v1/responses"


def recording(
    body: Any,
    answer: Any = None,
    *,
    url: str = CHAT,
    method: str = "POST",
    at: str = "2026-01-01T00:00:00Z",
    **response: Any,
) -> Interaction:
    chunks = (RecordedChunk(json.dumps(answer or {}).encode()),)
    answered = RecordedResponse(**{"status": 200, "chunks": chunks} | response)
    return Interaction(RecordedRequest(method, url, (), json.dumps(body).encode()), answered, at)


def plan_of(folder: Path, *cassettes: list[Interaction], sample: Sample = Sample(), played: Any = None) -> Plan:  # noqa: B008
    rows = []
    for index, recordings in enumerate(cassettes):
        path = folder / f"{index}.msgpack"
        save_cassette(path, Cassette(tuple(recordings)))
        rows += [PlayedRecording(path, number, ("t",), "live", None) for number in range(len(recordings))]
    return make_plan(rows if played is None else played(rows), sample)


def places(plan: Plan) -> list[list[str]]:
    return [[f"{each.played.path.stem}{each.played.number}" for each in row] for row in plan.conversations]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (recording({}, status=429), "a temporary failure (429)"),
        (recording({}, status=503), "a temporary failure (503)"),
        (recording({}, status=401), "about the key (401)"),
        (recording({}, status=0, end="broken"), "broke off"),
        (recording({}, status=0, end="silent"), "fell silent"),
        (recording({}, method="GET"), "no prompt for a model: GET /v1/responses"),
        (recording({}, url="https://api.openai.com/v1/files"), "no prompt for a model: POST /v1/files"),
        (recording({"input": "[redacted-2]"}), "a placeholder for a secret"),
        (recording({}, url=f"{CHAT}?key=[redacted-2]"), "a placeholder for a secret"),
        (replace(recording({}), kind="websocket"), "a conversation over a WebSocket"),
    ],
)
def test_failures_and_other_requests_than_prompts_are_not_asked(row: Interaction, reason: str, tmp_path: Path) -> None:
    plan = plan_of(tmp_path, [row, recording({})])
    assert places(plan) == [["01"]]
    assert reason in plan.aside[0].reason


def test_a_conversation_is_asked_in_order_even_across_cassettes(tmp_path: Path) -> None:
    begun = recording({"input": "a"}, {"id": "resp_aaa"})
    gone_on = recording({"previous_response_id": "resp_aaa"}, {"id": "resp_bbb"})
    ended = recording({"previous_response_id": "resp_bbb"}, {"id": "resp_ccc"})
    alone = recording({"input": "b"}, {"id": "resp_ddd"})
    plan = plan_of(tmp_path, [gone_on, alone], [begun], [ended])
    assert sorted(places(plan)) == [["01"], ["10", "00", "20"]]
    assert [each.reason for each in plan.aside] == []


def test_continuations_of_recordings_that_are_not_asked_are_not_verifiable(tmp_path: Path) -> None:
    begun = recording({"input": "a"}, {"id": "resp_aaa"}, url="https://api.openai.com/v1/files")
    gone_on = recording({"previous_response_id": "resp_aaa"}, {"id": "resp_bbb"})
    ended = recording({"previous_response_id": "resp_bbb"}, {"id": "resp_ccc"})
    plan = plan_of(tmp_path, [begun, gone_on, ended])
    assert places(plan) == []
    assert [each.is_skipped for each in plan.aside] == [True, False, False]


def test_recordings_that_name_each_others_ids_are_asked(tmp_path: Path) -> None:
    one = recording({"previous_response_id": "resp_bbb"}, {"id": "resp_aaa"})
    two = recording({"previous_response_id": "resp_aaa"}, {"id": "resp_bbb"})
    assert [sorted(each) for each in places(plan_of(tmp_path, [one], [two]))] == [["00", "10"]]


@pytest.mark.parametrize(
    ("text", "total", "size"),
    [
        *(("all", 7, 7), ("10%", 7, 1), ("50%", 7, 4), ("100%", 7, 7), ("3", 7, 3), ("9", 7, 7)),
        *(("7%", 100, 7), ("0.1%", 1001, 2)),
    ],
)
def test_the_size_of_a_sample(text: str, total: int, size: int) -> None:
    assert Sample.parse(text).size_of(total) == size


def test_a_sample_has_the_oldest_recordings_and_those_that_they_continue(tmp_path: Path) -> None:
    rows = [
        recording({"input": "a"}, {"id": "resp_aaa"}, at="2026-05-01T00:00:00Z"),
        recording({"previous_response_id": "resp_aaa"}, {"id": "resp_bbb"}, at="2020-01-01T00:00:00Z"),
        recording({"input": "c"}, {"id": "resp_ccc"}, at="2026-04-01T00:00:00Z"),
    ]
    assert places(plan_of(tmp_path, rows, sample=Sample(count=1))) == [["00", "01"]]
    assert sorted(places(plan_of(tmp_path, rows, sample=Sample(count=3)))) == [["00", "01"], ["02"]]


def test_changed_and_missing_cassettes_are_set_aside(tmp_path: Path) -> None:
    def elsewhere(rows: list[PlayedRecording]) -> list[PlayedRecording]:
        gone = PlayedRecording(tmp_path / "gone.yaml", 0, ("t",), "live", None)
        return [*rows, PlayedRecording(rows[0].path, 5, ("t",), "live", None), gone]

    plan = plan_of(tmp_path, [recording({})], played=elsewhere)
    assert places(plan) == [["00"]]
    assert [(each.reason.partition(":")[0], each.is_skipped) for each in plan.aside] == [
        ("its cassette was changed during the run", False),
        ("its cassette cannot be read", False),
    ]


@pytest.mark.parametrize(
    ("recorded", "setting", "asked"),
    [
        ("live", "live", ["live"]),
        ("", "live", ["live"]),
        ("local", "live", ["local"]),
        ("local", "mine:factory", ["mine:factory"]),
        ("mine:factory", "mine:factory", ["mine:factory"]),
        ("os:abort", "live", []),  # a file calls nothing
    ],
)
def test_the_upstream_comes_from_the_settings_and_never_from_a_file(
    recorded: str, setting: str, asked: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "c.msgpack"
    made = recording({})
    save_cassette(path, Cassette((Interaction(made.request, made.response, "2026-01-01T00:00:00Z", recorded),)))
    plan = make_plan([PlayedRecording(path, 0, ("t",), setting, None)], Sample())
    assert [each.upstream for each in plan.questions] == asked


def test_a_host_that_only_a_cassette_names_is_not_asked(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, [recording({}, url="https://elsewhere.example/v1/responses"), recording({})])
    assert places(plan) == [["01"]]
    assert "another process" in plan.aside[0].reason

    def as_sent(rows: list[PlayedRecording]) -> list[PlayedRecording]:
        return [
            replace(each, request=RecordedRequest("POST", "https://elsewhere.example/v1/responses")) for each in rows
        ]

    assert places(plan_of(tmp_path, [recording({})], played=as_sent)) == [["00"]]


def test_a_host_with_a_port_in_the_settings_is_asked_at_that_port_only(tmp_path: Path) -> None:
    rows = [recording({}, url=f"https://gateway.example:{port}/v1/responses") for port in (8443, 9000)]
    with separate_run(tmp_path, ini={"providers": "gateway.example:8443"}):
        assert places(plan_of(tmp_path, rows)) == [["00"]]
    rows = [recording({}, url="https://gateway.example/v1/responses")]
    with separate_run(tmp_path, ini={"providers": "gateway.example:443"}):
        assert places(plan_of(tmp_path, rows)) == [["00"]]


def test_an_answer_that_a_function_of_another_process_changes_is_not_asked(tmp_path: Path) -> None:
    def filtered(rows: list[PlayedRecording]) -> list[PlayedRecording]:
        return [replace(rows[0], is_filtered=True, change_response=change) for change in (None, lambda answer: answer)]

    plan = plan_of(tmp_path, [recording({})], played=filtered)
    assert places(plan) == [["00"]]
    assert [("only its worker has that function" in each.reason, each.is_skipped) for each in plan.aside] == [
        (True, False)
    ]


def test_a_large_upload_of_another_process_is_not_sent_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sha256-0").write_bytes(b"{}")
    upload = StoredRequest("POST", CHAT, (), BodyFile("sha256-0", 2, tmp_path))
    cassette = Cassette((Interaction(upload, RecordedResponse(200)),))
    monkeypatch.setattr("aquila.verifying.planning.load_cassette", lambda path: cassette)
    played = PlayedRecording(tmp_path / "c.yaml", 0, ("t",), "live", None)
    plan = make_plan([played], Sample())
    assert (places(plan), [(each.reason, each.is_skipped) for each in plan.aside]) == (
        [],
        [("it is a large upload, which is not sent again", False)],
    )
    assert places(make_plan([replace(played, request=RecordedRequest("POST", CHAT))], Sample())) == [["c0"]]


def test_a_play_log_survives_the_way_from_a_worker(tmp_path: Path) -> None:
    request = RecordedRequest("POST", CHAT, (("a", "b"),), b"\xff{}")
    log, other = PlayLog(), PlayLog()
    for test in ("one", "two"):
        log._add(PlayedRecording(tmp_path / "c.yaml", 1, (test,), "live", request if test == "two" else None))
    other.add_plain_data(log.as_plain_data())
    assert other.recordings() == log.recordings()
    assert (other.recordings()[0].tests, other.recordings()[0].request) == (("one", "two"), request)
