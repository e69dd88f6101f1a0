"""Which request meets which fault, and how often, in one process and in several."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aquila.cassettes.model import Interaction
from aquila.faults.parsing import read_faults
from aquila.faults.plan import FaultPlan
from aquila.scripting.script import Gives
from tests.faults.test_streams_and_failures import scripted
from tests.support.threads import run_at_once

STREAM = scripted()
WHOLE = scripted(stream=False)


def plan_of(text: str) -> FaultPlan:
    return FaultPlan(read_faults(text))


def meet(plan: FaultPlan, key: str, good: Interaction = STREAM) -> str:
    met = plan.meet(key, good)
    return "good" if met is None else met.fault.name


class Counts:
    """Counts as several processes have them."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = defaultdict(int)
        self.lock = threading.Lock()

    def count_request(self, label: str) -> int:
        with self.lock:
            self.counts[label] += 1
            return self.counts[label] - 1

    def count_of(self, label: str) -> int:
        return self.counts[label]


def test_each_request_meets_the_faults_in_order_and_then_none() -> None:
    plan = plan_of("rate_limit(times=2), cut_stream")
    assert [meet(plan, "a") for _ in range(5)] == ["rate_limit", "rate_limit", "cut_stream", "good", "good"]
    assert meet(plan, "b") == "rate_limit"
    assert plan.met == 4
    for_ever = plan_of("stall(times=None), cut_stream")
    assert [meet(for_ever, "a") for _ in range(3)] == ["stall"] * 3


def test_a_fault_that_cannot_be_applied_is_skipped() -> None:
    plan = plan_of("dropped_event, rate_limit")
    assert [meet(plan, "whole", WHOLE) for _ in range(2)] == ["rate_limit", "good"]
    assert [str(fault) for fault in plan.unmet] == ["dropped_event"]
    assert "no request met the fault dropped_event\n  dropped_event: " in plan.explain_unmet()
    assert meet(plan, "stream") == "dropped_event"
    assert not plan.unmet
    assert not plan.explain_unmet()


def test_only_a_fault_that_no_request_met_is_explained() -> None:
    plan = plan_of("cut_stream(after=3), unknown_tool")
    assert [meet(plan, "whole", WHOLE), meet(plan, "stream")] == ["good", "cut_stream"]
    assert "no request met the fault unknown_tool\n  unknown_tool: " in plan.explain_unmet()
    assert "cut_stream" not in plan.explain_unmet()


def test_a_shared_plan_counts_the_requests_of_all_processes() -> None:
    counts = Counts()
    here, there = (FaultPlan.from_text("rate_limit(times=3)  # scope.1", "other") for _ in range(2))
    assert here.text == there.text == "rate_limit(times=3)  # scope.1"
    assert meet(here, "a") == "rate_limit"
    here.share(counts)
    there.share(counts)
    assert not there.unmet
    assert [meet(there, "a"), meet(here, "a"), meet(there, "a"), meet(here, "a")] == [
        *["rate_limit"] * 2,
        *["good"] * 2,
    ]
    another = FaultPlan.from_text("rate_limit(times=3)  # scope.2", "other")
    another.share(counts)
    assert another.unmet


def test_processes_that_count_at_once_do_not_meet_a_fault_too_often() -> None:
    class Late(Counts):
        """As where another process counts between the look and the count of this one."""

        def count_of(self, label: str) -> int:
            return 0

    plan, counts = plan_of("rate_limit(times=2)"), Late()
    plan.share(counts)
    assert [meet(plan, "a") for _ in range(4)] == ["rate_limit", "rate_limit", "good", "good"]
    assert plan.met == 2


def test_sharing_a_plan_twice_adds_its_counts_once() -> None:
    plan, counts = plan_of("rate_limit(times=3)"), Counts()
    assert meet(plan, "a") == "rate_limit"
    plan.share(counts)
    plan.share(counts)
    assert [meet(plan, "a") for _ in range(3)] == ["rate_limit", "rate_limit", "good"]


def test_threads_meet_a_fault_exactly_as_often_as_times_says() -> None:
    plan, met = plan_of("rate_limit(times=50)"), Counter[str]()

    def ask() -> None:
        for _ in range(20):
            met[meet(plan, "a")] += 1

    run_at_once([ask] * 5)
    assert met == {"rate_limit": 50, "good": 50}


@given(st.lists(st.tuples(st.integers(1, 4), st.sampled_from("ab")), max_size=20), st.integers(1, 3))
def test_the_good_answer_comes_after_as_many_faults_as_times_says(asked: list[tuple[int, str]], times: int) -> None:
    plan, seen = plan_of(f"server_error(times={times})"), Counter[str]()
    for repeat, key in asked:
        for _ in range(repeat):
            assert meet(plan, key) == ("server_error" if seen[key] < times else "good")
            seen[key] += 1


@pytest.mark.parametrize(
    ("fault", "gives"),
    [
        *((name, "all") for name in ("one_byte", "one_piece", "split_events", "other_chunks")),
        *((name, "answer") for name in ("end_early", "finish_length", "dropped_event", "slow", "stall(seconds=1)")),
        *((name, "nothing") for name in ("cut_stream", "stall", "timeout", "rate_limit", "html_page(200)")),
        *((name, "nothing") for name in ("garbage", "truncated_json", "invalid_utf8", "error_event")),
    ],
)
def test_only_a_complete_and_readable_response_can_be_taken_for_an_answer(fault: str, gives: Gives) -> None:
    met = plan_of(fault).meet("a", STREAM)
    assert met is not None
    assert met.gives == gives
