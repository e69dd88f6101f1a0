"""Sending requests again: a few at once, conversations in order, Ctrl-C, trouble of the upstream."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

from aquila.cassettes.model import Interaction, RecordedRequest, RecordedResponse
from aquila.recording.environment import DUMMY_KEY
from aquila.recording.reporting.play_log import PlayedRecording
from aquila.verifying.asking import AT_ONCE, Answers, ask_questions
from aquila.verifying.credentials import VerifyingKeys
from aquila.verifying.planning import Plan, PlannedQuestion
from tests.support.runs import name_upstream

NO_KEYS = VerifyingKeys({}, {})


def question(number: int, *givers: int, host: str = "provider.example", upstream: str = "scripted") -> PlannedQuestion:
    path = Path("c.yaml")
    headers = (("authorization", f"Bearer OPENAI_API_KEY.{DUMMY_KEY}"),) if upstream == "live" else ()
    request = RecordedRequest("POST", f"https://{host}/{number}", headers, b"{}")
    played = PlayedRecording(path, number, ("t",), upstream, request)
    return PlannedQuestion(
        played, Interaction(request, RecordedResponse(200)), request, tuple((path, each) for each in givers)
    )


class Upstream(httpx2.BaseTransport):
    """Notes what reaches it, and holds it back until ``released``."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.most = 0
        self._under_way = 0
        self._lock = threading.Lock()
        self.is_full = threading.Event()
        self.released = threading.Event()
        self.released.set()

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        with self._lock:
            self.asked.append(request.url.path)
            self._under_way += 1
            self.most = max(self.most, self._under_way)
            if self._under_way == AT_ONCE:
                self.is_full.set()
        if request.url.path != "/0":
            self.released.wait(60)
        with self._lock:
            self._under_way -= 1
        if request.url.path == "/13":
            raise httpx2.ConnectTimeout("timed out")
        if request.url.path == "/14":
            raise ValueError("a mistake of the transport")
        if request.url.path == "/16":
            pytest.skip("no server here")
        return httpx2.Response(404 if request.url.path == "/15" else 200, json={"path": request.url.path})


@pytest.fixture
def upstream(root: Path) -> Upstream:
    made = Upstream()
    name_upstream("scripted", made)
    return made


def results(answers: Answers) -> dict[int, str]:
    return {each.question.played.number: each.problem for each in answers.outcomes}


def test_a_few_requests_are_under_way_at_once_and_all_are_sent(upstream: Upstream) -> None:
    upstream.released.clear()
    plan = Plan([[question(number)] for number in range(10)])
    threading.Thread(target=lambda: (upstream.is_full.wait(60), upstream.released.set())).start()
    told: list[tuple[int, int]] = []
    answers = ask_questions(plan, NO_KEYS, lambda done, total: told.append((done, total)))
    assert upstream.most == AT_ONCE
    assert told == [(number + 1, 10) for number in range(10)]
    assert results(answers) == dict.fromkeys(range(10), "")


def test_requests_of_a_conversation_are_sent_in_order_until_one_fails(upstream: Upstream) -> None:
    conversation = [question(1), question(2, 1), question(15, 2), question(3, 15), question(4, 3)]
    answers = ask_questions(Plan([conversation]), NO_KEYS, lambda done, total: None)
    assert upstream.asked == ["/1", "/2", "/15"]
    assert [each.is_verifiable for each in answers.outcomes] == [True, True, True, False, False]


def test_requests_without_a_key_are_not_counted_as_sent(upstream: Upstream) -> None:
    without_key = [question(number, host="api.openai.com", upstream="live") for number in range(3)]
    plan = Plan([[each] for each in [*without_key, question(5), question(6)]])
    told: list[tuple[int, int]] = []
    answers = ask_questions(plan, NO_KEYS, lambda done, total: told.append((done, total)))
    assert told == [(1, 5), (2, 5)]
    assert [each.problem for each in answers.outcomes] == [*["no key: OPENAI_API_KEY is not set"] * 3, "", ""]


def test_a_request_that_fails_does_not_stop_the_others(upstream: Upstream) -> None:
    answers = ask_questions(Plan([[question(number)] for number in range(12, 17)]), NO_KEYS, lambda done, total: None)
    assert results(answers) == {
        12: "",
        13: "ConnectTimeout: timed out",
        14: "ValueError: a mistake of the transport",
        15: "",
        16: "Skipped: no server here",
    }


def test_a_local_model_gets_no_key_and_a_slow_answer_more_time(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[tuple[str, float, str]]()

    def ask(request: RecordedRequest, upstream: str, *, seconds: float) -> RecordedResponse:
        asked.append((upstream, seconds, dict(request.headers)["authorization"]))
        return RecordedResponse(200)

    monkeypatch.setattr("aquila.verifying.asking.ask_again", ask)
    keys = VerifyingKeys({"OPENAI_API_KEY": "open-q7Zr2mXv9KpLw4TbN8sY"}, {})
    of_provider = question(0, host="api.openai.com", upstream="live")
    local = replace(of_provider, played=replace(of_provider.played, number=1, upstream="local"))
    slow = replace(local, recorded=replace(local.recorded, response=RecordedResponse(200, ended=50_000)))
    for each in (of_provider, local, slow):
        ask_questions(Plan([[each]]), keys, lambda done, total: None)
    dummy = f"Bearer OPENAI_API_KEY.{DUMMY_KEY}"
    assert asked == [
        ("live", 120.0, "Bearer open-q7Zr2mXv9KpLw4TbN8sY"),
        ("local", 120.0, dummy),
        ("local", 200.0, dummy),
    ]


def test_ctrl_c_while_the_threads_start_ends_the_asking(upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    start, started = threading.Thread.start, threading.Event()

    def interrupt(self: threading.Thread) -> None:
        if started.is_set():
            raise KeyboardInterrupt
        started.set()
        start(self)

    upstream.released.clear()
    try:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", interrupt)
            answers = ask_questions(Plan([[question(2)], [question(3)]]), NO_KEYS, lambda done, total: None)
    finally:
        upstream.released.set()
    assert answers.interrupted
    assert results(answers) == dict.fromkeys((2, 3), "interrupted before it was answered")


def test_ctrl_c_keeps_the_answers_so_far_and_sends_no_more(upstream: Upstream) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    upstream.released.clear()  # the first question alone gets an answer
    try:
        answers = ask_questions(Plan([[question(number)] for number in range(50)]), NO_KEYS, interrupt)
        assert len(upstream.asked) <= AT_ONCE + 1
    finally:
        upstream.released.set()
    assert answers.interrupted
    assert [each.answer is not None for each in answers.outcomes] == [True, *[False] * 49]
    assert answers.outcomes[1].problem == "interrupted before it was answered"


def test_ctrl_c_sends_no_further_request_of_a_conversation(upstream: Upstream) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    upstream.released.clear()
    before = set(threading.enumerate())
    try:
        ask_questions(Plan([[question(0), question(1), question(2)]]), NO_KEYS, interrupt)
        workers = set(threading.enumerate()) - before
    finally:
        upstream.released.set()
    for worker in workers:
        worker.join(60)
    assert [worker for worker in workers if worker.is_alive()] == []
    assert "/2" not in upstream.asked
