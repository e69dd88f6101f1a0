"""Limits as a pure function of what is counted: never more than they say, and everybody's turn comes."""

import heapq
import math
import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aquila.huey.limits import counting
from aquila.huey.limits.counting import AdmissionRequest, Counts
from aquila.huey.limits.rules import parse_limits
from tests.support.limit_counts import describe_counts

START = 1_800_000_000.0


def asking(name, tokens=1, *, lease=1e9, has_turn=False, patience=math.inf):
    return AdmissionRequest(tokens, str(name), lease, has_turn, patience)


def stored(counts):
    """The counts on their way through the storage."""
    return Counts.read(counts.write())


steps = st.lists(
    st.tuples(st.floats(0, 30, allow_nan=False), st.integers(1, 40), st.booleans()), min_size=1, max_size=80
)


@given(steps, st.integers(1, 12), st.integers(1, 60), st.sampled_from(["s", "min", "h"]), st.booleans())
def test_no_period_ever_has_more_than_its_limit(steps, requests, tokens, unit, taken_back):
    rules = parse_limits(f"*: {requests}/{unit}, {tokens} tokens/{unit}")
    period = rules[0].period
    counts, now, let_in = Counts(), START, []
    for number, (gap, size, has_turn) in enumerate(steps):
        now += gap * period / 60
        who = asking(number, size, has_turn=has_turn)
        if counting.admit_request(counts, rules, who, now) is None:
            if taken_back and number % 3 == 0:
                counting.take_back(counts, rules, who, now)
            else:
                let_in.append((now, min(size, tokens)))
        counts = stored(counts)
    for begin, _ in let_in:
        within = [size for at, size in let_in if begin <= at < begin + period]
        assert len(within) <= requests
        assert sum(within) <= tokens


@example([1 / 60 - 1e-4, 0.0, 1 + 2e-4], [(0, 1.0), (1, 1.0)], "s")  # Counted at the end of a slice, and let in late.
@given(
    st.lists(st.floats(0, 1.1), min_size=1, max_size=40),
    st.lists(st.tuples(st.integers(0, 40), st.floats(0, 1)), max_size=8),
    st.sampled_from(["s", "min", "h"]),
)
def test_requests_that_leave_a_moment_after_they_are_counted_keep_to_their_limit(gaps, late, unit):
    (rule,) = parse_limits(f"*: 2/{unit}")
    counts, now, left = Counts(), START, []
    most_late = min(0.25, rule.period / 20)  # As the storage and the connection take a while.
    for number, gap in enumerate(gaps):
        now += gap * rule.period
        if counting.admit_request(counts, [rule], asking(number, has_turn=True), now) is None:
            left.append(now + dict(late).get(number, 0.0) * most_late)
    for begin in left:
        assert sum(begin <= at < begin + rule.period for at in left) <= 2


@example([(0.0, "ask"), (5.0, "ask"), (5.0, "ask"), (5.0, "kill"), (5.0, "ask")], 1)
@given(st.lists(st.tuples(st.floats(0, 5), st.sampled_from(["ask", "end", "kill"])), max_size=80), st.integers(1, 4))
def test_no_more_are_at_once_than_may_be_and_the_slots_of_the_killed_end(steps, most):
    rules = parse_limits(f"*: {most} at once")
    counts, now, running, lost = Counts(), START, {}, {}
    for number, (gap, what) in enumerate(steps):
        now += gap
        lost = {name: until for name, until in lost.items() if until > now}
        if what == "ask":
            who = asking(number, lease=20, has_turn=True)
            is_in = counting.admit_request(counts, rules, who, now) is None
            assert is_in == (len(running) + len(lost) < most)
            if is_in:
                running[number] = (who, now)
        elif running:
            who, began = running.pop(next(iter(running)))
            if what == "end":
                counting.settle_request(counts, rules, who, began, now, 5)
            else:
                lost[who.name] = counts.leases[rules[0].id][who.name]  # until when it was renewed last
        # Those that run are renewed.
        for name in running:
            counts.leases[rules[0].id][str(name)] = now + 20
        counts = stored(counts)


def simulate(text, jobs, *, seconds_each=0.0, late=1.0, seed=0, arrivals=None):
    """Let jobs ask until they are let in, each late for its turn. Returns when each was, and how often it asked."""
    rules = parse_limits(text)
    chance = random.Random(seed)
    counts, let_in, asked = Counts(), {}, dict.fromkeys(range(jobs), 0)
    agenda = [(START + (arrivals(job) if arrivals else 0.0), job, "ask") for job in range(jobs)]
    heapq.heapify(agenda)
    while agenda:
        now, job, what = heapq.heappop(agenda)
        if what == "end":
            counting.settle_request(counts, rules, asking(job), let_in[job], now, 1)
            continue
        asked[job] += 1
        turn = counting.admit_request(counts, rules, asking(job, has_turn=asked[job] > 1), now)
        if turn is None:
            let_in[job] = now
            heapq.heappush(agenda, (now + seconds_each, job, "end"))
        else:
            assert turn.at > now
            heapq.heappush(agenda, (turn.at + chance.uniform(0, late), job, "ask"))
    return let_in, asked


def test_many_waiting_requests_are_let_in_one_by_one_and_ask_about_twice():
    let_in, asked = simulate("*: 60/min", 300)
    assert max(asked.values()) <= 8
    assert sum(asked.values()) <= 2.2 * 300
    assert max(abs(place - job) for place, job in enumerate(sorted(let_in, key=let_in.__getitem__))) <= 10
    # 60 at once, and then one each second: at most a slice of each period and the lateness are lost.
    assert max(let_in.values()) - START <= 5 * 61 * 1.05


def test_the_first_request_is_let_in_first_although_others_keep_coming():
    # Two a second come, and one a second is let in: the first in the line are not overtaken by those who come later.
    let_in, asked = simulate("*: 60/min", 400, arrivals=lambda job: job * 0.5)
    order = sorted(let_in, key=let_in.__getitem__)
    assert max(abs(place - job) for place, job in enumerate(order)) <= 10
    assert max(asked.values()) <= 8


@pytest.mark.parametrize("patience", [0, 30])
def test_a_request_that_gives_up_keeps_no_other_out(patience):
    # Two a second come for ten minutes, and only those come back whose turn is near enough.
    rules, counts, let_in = parse_limits("*: 60/min"), Counts(), 0
    agenda = [(START + number * 0.5, number, False) for number in range(1200)]
    while agenda:
        now, number, has_turn = heapq.heappop(agenda)
        turn = counting.admit_request(counts, rules, asking(number, has_turn=has_turn, patience=patience), now)
        if turn is None:
            let_in += 1
        elif turn.at <= now + patience:
            heapq.heappush(agenda, (turn.at, number, True))
    assert 570 <= let_in <= 660
    assert counting.admit_request(counts, rules, asking("later"), START + 700) is None


@pytest.mark.parametrize("seconds", [0.1, 3.0, 60.0])
def test_slots_are_shared_by_a_crowd_and_stay_in_use(seconds):
    let_in, asked = simulate("*: 4 at once", 200, seconds_each=seconds)
    assert max(let_in.values()) - START <= max(60, 200 * seconds / 4 * 1.2)
    assert sum(asked.values()) <= 200 * 20


@pytest.mark.parametrize("tokens", [1, 30, 5000])
def test_a_request_that_exceeds_the_whole_limit_is_let_in_alone(tokens):
    rules = parse_limits("*: 100 tokens/min")
    counts = Counts()
    assert counting.admit_request(counts, rules, asking("first", tokens), START) is None
    turn = counting.admit_request(counts, rules, asking("second", 5000), START)
    assert turn is not None
    assert counting.admit_request(counts, rules, asking("second", 5000, has_turn=True), turn.at) is None


def test_tokens_are_corrected_when_they_are_known():
    rules = parse_limits("*: 100 tokens/min")
    counts = Counts()
    who = asking("first", 90)
    assert counting.admit_request(counts, rules, who, START) is None
    assert counting.admit_request(counts, rules, asking("second", 50), START) is not None
    counting.settle_request(counts, rules, who, START, START + 1, 20)
    assert counting.admit_request(counts, rules, asking("second", 50, has_turn=True), START + 2) is None
    assert describe_counts(counts, rules) == {"*: 100 tokens/min": 70}


def test_a_request_that_is_not_sent_after_all_takes_nothing():
    rules = parse_limits("*: 1/min, 100 tokens/min, 1 at once")
    counts = Counts()
    who = asking("first", 90)
    assert counting.admit_request(counts, rules, who, START) is None
    counting.take_back(counts, rules, who, START)
    assert counting.admit_request(counts, rules, asking("second", 50), START + 1) is None


@pytest.mark.parametrize("data", [b"", b"{}", b"1", b"\xff", b'{"a": 1}'])
def test_counts_that_a_later_version_has_written_begin_anew(data):
    assert Counts.read(data) == Counts()
