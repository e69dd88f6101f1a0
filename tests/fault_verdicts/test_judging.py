"""The verdict on a run of a test under a fault, from its requests and answers."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from aquila.fault_verdicts.judging import Allowance, Ending, FaultedRun, Judgement, Verdict, is_whole, judge_run
from aquila.recording.reporting.wire_watch import Attempt
from aquila.scripting.script import Script
from aquila.wire_forms.answer import Finish
from tests.faults.answers import URLS, answered, call_answer, text_answer

BUSY: dict[str, Any] = {"fault": "rate_limit", "status": 429, "retry_after": 5.0, "reading": "read"}


def attempt(at: float, *, key: str = "a", **more: Any) -> Attempt:
    return Attempt(key, at=at, ended=at, **{"reading": "read", **more})


def findings(attempts: list[Attempt], good: Counter[str] | None = None, **more: Any) -> list[str]:
    run = FaultedRun("passed", attempts=attempts, good=good or Counter({"a": 1}), **more)
    return [name for name, _ in judge_run("test", "fault", run).findings]


def test_a_retry_before_the_requested_delay_is_found() -> None:
    assert findings([attempt(0, **BUSY), attempt(1)]) == ["ignored_retry_after"]
    assert findings([attempt(0, **BUSY), attempt(4.9)]) == []


def test_several_samples_of_one_prompt_are_not_retries() -> None:
    at_once = [attempt(0, asker=1, **BUSY), attempt(0, asker=2), attempt(0, asker=3)]
    assert findings([*at_once, attempt(5, asker=1)], Counter({"a": 3})) == []
    assert findings([*at_once, attempt(1, asker=1)], Counter({"a": 3})) == ["ignored_retry_after"]
    in_turn = [attempt(0, **BUSY), attempt(0), attempt(0)]
    assert findings(in_turn, Counter({"a": 3}), has_noticed=True) == []


def test_a_retry_storm_is_relative_to_the_usual_number_of_requests() -> None:
    failing = {"fault": "overloaded", "status": 503}
    storm = [attempt(at, **failing) for at in range(15)]
    assert findings(storm, Counter({"a": 5}), has_noticed=True) == []
    assert findings(storm, has_noticed=True) == ["retry_storm"]


def test_a_backoff_may_begin_with_a_short_sleep() -> None:
    failing = {"fault": "overloaded", "status": 503}
    asked = [attempt(0, **failing), attempt(0.02, slept=0.02, **failing), attempt(0.06, slept=0.06, **failing)]
    assert findings(asked, has_noticed=True) == []
    for each in asked:
        each.slept = 0.0
    assert findings(asked, has_noticed=True) == ["no_backoff"]


def test_findings_about_waits_are_left_out_if_the_test_fakes_waits() -> None:
    asked = [attempt(0, **BUSY), attempt(0, **BUSY), attempt(0, **BUSY), attempt(0)]
    assert findings(asked) == ["ignored_retry_after", "no_backoff"]
    assert findings(asked, fakes_waits=True) == []
    hopeless = [attempt(0, fault="unauthorized", status=401), attempt(0)]
    assert findings(hopeless, fakes_waits=True) == ["retried_hopeless"]


def test_a_retry_with_other_credentials_is_not_hopeless() -> None:
    assert findings([attempt(0, fault="unauthorized", status=401), attempt(0, credentials=1)]) == []


def test_an_answer_that_was_left_early_may_not_have_met_its_fault() -> None:
    for fault, lost in (("finish_length", []), ("garbage", []), ("refusal", ["accepted"])):
        left = FaultedRun("passed", attempts=[attempt(0, fault=fault, reading="left")], good=Counter({"a": 1}))
        assert [name for name, _ in judge_run("test", fault, left).findings] == lost
        assert left.has_met is bool(lost)
    noticed = FaultedRun("passed", attempts=[attempt(0, fault="garbage", reading="left")], has_noticed=True)
    assert noticed.has_met


def test_a_faulted_answer_that_is_replaced_by_a_good_one_is_not_lost() -> None:
    cut = attempt(0, fault="end_early")
    assert findings([cut]) == ["accepted", "took_truncated"]
    assert findings([cut, attempt(1)]) == []
    assert findings([cut], has_noticed=True) == []
    assert findings([attempt(0, fault="refusal")]) == ["accepted"]
    assert findings([attempt(0, fault="other_model")]) == []
    assert findings([attempt(0, fault="no_connection", status=0)]) == ["accepted"]
    assert findings([attempt(0), attempt(1, status=500)]) == []  # the test's own refusal


def test_an_answer_that_is_not_whole_without_the_fault_cannot_be_lost() -> None:
    cut = attempt(0, fault="end_early")
    assert findings([cut], not_whole=Counter({"a": 1})) == []
    assert findings([cut], Counter({"a": 2}), not_whole=Counter({"a": 1})) == ["accepted", "took_truncated"]


@pytest.mark.parametrize(("form", "stream"), [(form, stream) for form in URLS for stream in (False, True)])
def test_refused_and_cut_answers_are_not_whole(form: str, stream: bool) -> None:
    finishes: tuple[Finish, ...] = ("length", "content_filter")
    for script in (Script().refuse("no"), *(Script().reply("one two", finish=each) for each in finishes)):
        assert not is_whole(answered(form, script, stream=stream).response.body)
    for answer in (text_answer, call_answer):
        assert is_whole(answer(form, stream=stream).response.body)


@pytest.mark.parametrize(
    ("field", "reason"), [("finish_reason", "model_length"), ("stop_reason", "model_context_window_exceeded")]
)
def test_an_answer_that_fills_the_window_of_the_model_is_cut_off(field: str, reason: str) -> None:
    whole = {
        "finish_reason": {"choices": [{"message": {"content": "one"}, field: reason}]},
        "stop_reason": {"type": "message", "content": [{"type": "text", "text": "one"}], field: reason},
    }
    assert not is_whole(json.dumps(whole[field]).encode())


def test_leaks_are_found_even_if_the_test_noticed_the_fault() -> None:
    cut = [attempt(0, fault="refusal")]
    for more, expected in (({}, ["accepted", "leaks"]), ({"has_noticed": True}, ["leaks"])):
        assert findings(cut, leaks=["a thread"], **more) == expected


@pytest.mark.parametrize(
    ("ending", "verdict"),
    [
        ("passed", "held"),
        ("raised", "clear"),
        ("asserted", "changed"),
        ("unanswered", "changed"),
        ("silent", "hangs"),
        ("hung", "hangs"),
    ],
)
def test_the_verdict_follows_from_how_the_test_ends(ending: Ending, verdict: Verdict) -> None:
    assert judge_run("test", "fault", FaultedRun(ending)).verdict == verdict


def test_a_client_that_waits_for_ever_has_no_read_timeout() -> None:
    silent = attempt(0, fault="stall", is_silent=True)
    limited = attempt(0, fault="stall", is_silent=True, read_limit=600.0)
    for asked, expected in ((silent, ["hangs", "no_read_timeout"]), (limited, ["hangs"])):
        judgement = judge_run("test", "stall", FaultedRun("hung", attempts=[asked]))
        assert [name for name, _ in judgement.findings] == expected


@pytest.mark.parametrize(
    ("line", "covered"),
    [
        ("test_app.py::test_it[a] end_early accepted", True),
        ("test_app.py::* * accepted", True),
        ("test_app.py::* end_early(after=1) accepted", True),
        ("test_app.py::* cut_stream accepted", False),
        ("test_app.py::* end_early leaks", False),
        ("test_other.py::* end_early accepted", False),
    ],
)
def test_a_finding_is_allowed_by_test_fault_and_name(line: str, covered: bool) -> None:
    judgement = Judgement("test_app.py::test_it[a]", "end_early(after = 1)", "accepted")
    for finding in ("accepted", "took_truncated"):  # the second follows from the first
        assert Allowance.parse(line).covers(judgement, finding) is covered


def test_a_repeated_request_needs_as_many_good_answers_as_usual() -> None:
    cut = attempt(0, fault="finish_length")
    three = Counter({"a": 3})
    assert findings([cut, attempt(0), attempt(0)], three) == ["accepted", "took_truncated"]
    assert findings([cut, attempt(0), attempt(0), attempt(1)], three) == []
    assert findings([cut, attempt(0), attempt(0)], three, has_noticed=True) == []
