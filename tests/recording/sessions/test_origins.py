"""Requests that differ only in scheme, host or port: which recording answers which, and what is recorded beside it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from aquila.cassettes.matching.match_rules import MatchRules
from aquila.cassettes.matching.miss_message import Explanation
from aquila.cassettes.matching.request_key import key_at_origin, origin_of
from aquila.cassettes.model import Cassette, Interaction, RecordedChunk, RecordedRequest, RecordedResponse
from aquila.cassettes.redaction.redactor import Redactor
from aquila.cassettes.storage.merging import NewRecording, merge_changes
from aquila.recording.sessions.client_calls import OpenCalls
from aquila.recording.sessions.other_origins import choose_key
from aquila.recording.sessions.recording_keys import CountedRequests
from aquila.recording.sessions.session import Session
from aquila.recording.sessions.session_decisions import MissedRequest, RecordDecision, RefuseDecision, ReplayDecision
from tests.support.examples import examples

MODEL, OTHER = "v1/chat/completions", "data"
ORIGINS = ("https://a", "http://a", "https://b", "https://b:8443")

Asked = tuple[str, str]
"""The origin of a request, and its body."""

asked = st.tuples(st.sampled_from(ORIGINS), st.sampled_from("xy"))
runs = st.lists(asked, max_size=10)


def request(of: Asked, path: str) -> RecordedRequest:
    return RecordedRequest("POST", f"{of[0]}/{path}", body=of[1].encode())


def key(of: RecordedRequest) -> str:
    return key_at_origin(of, MatchRules())


def recorded(rows: Sequence[Asked], path: str) -> Cassette:
    """A cassette whose answers are the numbers of its recordings."""
    return Cassette.from_interactions(
        Interaction(request(row, path), RecordedResponse(200, chunks=(RecordedChunk(str(n).encode()),)))
        for n, row in enumerate(rows)
    )


def session(cassette: Cassette, mode: str = "replay", missed: list[MissedRequest] | None = None) -> Session:
    def explain(miss: MissedRequest) -> Explanation:
        if missed is not None:
            missed.append(miss)
        return Explanation("miss")

    return Session(
        "name",
        cassette,
        mode=mode,
        rules=MatchRules(),
        identify_request=key,
        takes_other_origins=lambda request: request.url.endswith(MODEL),
        redactor=Redactor.from_environment({}),
        explain_miss=explain,
    )


def answers(use: Session, run: Sequence[Asked], path: str) -> list[str]:
    """What each request of a run is answered with; what is recorded is answered with ``new`` and a number."""
    found = []
    for row in run:
        decision = use.decide(request(row, path))
        if isinstance(decision, ReplayDecision):
            found.append(decision.interaction.response.body.decode())
        elif isinstance(decision, RecordDecision):
            answer = f"new {len(found)}"
            response = RecordedResponse(200, chunks=(RecordedChunk(answer.encode()),))
            made = Interaction(decision.request, response)
            use.add_recording(NewRecording(decision.key, decision.position, decision.order, made, call=decision.call))
            found.append(answer)
        else:
            found.append("miss")
    return found


@settings(deadline=None)
@given(runs, runs, st.sampled_from([MODEL, OTHER]))
def test_an_origin_that_was_recorded_gets_its_own_recordings_in_their_order(
    stored: list[Asked], run: list[Asked], path: str
) -> None:
    own: dict[Asked, list[str]] = defaultdict(list)
    for number, row in enumerate(stored):
        own[row].append(str(number))
    run = [row for row in run if row in own]
    expected = [(own[row] + ["miss"] * 10)[run[:n].count(row)] for n, row in enumerate(run)]
    assert answers(session(recorded(stored, path)), run, path) == expected


@settings(deadline=None)
@given(runs, st.lists(st.sampled_from("xy"), max_size=10))
def test_an_origin_without_recordings_gets_those_of_all_others_in_the_order_of_the_cassette(
    stored: list[Asked], bodies: list[str]
) -> None:
    run = [(f"https://new{n % 2}", body) for n, body in enumerate(bodies)]
    left = {body: [str(n) for n, row in enumerate(stored) if row[1] == body] for body in "xy"}
    expected = [left[body].pop(0) if left[body] else "miss" for body in bodies]
    assert answers(session(recorded(stored, MODEL)), run, MODEL) == expected


@settings(deadline=None)
@given(runs, st.lists(st.sampled_from("xy"), min_size=1, max_size=5))
def test_a_request_for_no_model_is_never_answered_by_another_origin(stored: list[Asked], bodies: list[str]) -> None:
    missed: list[MissedRequest] = []
    use = session(recorded(stored, OTHER), missed=missed)
    assert answers(use, [("https://new", body) for body in bodies], OTHER) == ["miss"] * len(bodies)
    assert all(miss.compares_origin and miss.recording_count == 0 for miss in missed)


BORROWERS = ("https://new", "https://new:1")


@settings(max_examples=examples(150), deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(ORIGINS), st.sampled_from("xy")), max_size=6),
    st.lists(st.tuples(st.sampled_from(ORIGINS + BORROWERS), st.sampled_from("xy")), max_size=10),
    st.sampled_from([MODEL, OTHER]),
)
def test_the_recordings_of_a_run_answer_the_next_run_alike(stored: list[Asked], run: list[Asked], path: str) -> None:
    """Whatever hosts were recorded, and whatever hosts the run asks, more often than all of them were."""
    before = recorded(stored, path)
    first = session(before, "missing")
    given_out = answers(first, run, path)
    after = merge_changes(before, first.compute_changes(record_errors="last", drop_unused=False), key)
    assert answers(session(after), run, path) == given_out
    assert answers(session(after, "missing"), run, path) == given_out


@settings(deadline=None)
@given(runs, runs, st.sampled_from([MODEL, OTHER]))
def test_if_everything_is_recorded_anew_each_origin_has_its_own_recordings(
    stored: list[Asked], run: list[Asked], path: str
) -> None:
    first = session(recorded(stored, path), "all")
    given_out = answers(first, run, path)
    after = merge_changes(recorded(stored, path), first.compute_changes(record_errors="last", drop_unused=True), key)
    assert answers(session(after), run, path) == given_out
    assert Counter((origin_of(row.request.url), row.request.body.decode()) for row in after.interactions) == Counter(
        run
    )


def test_a_retry_of_a_failed_call_stays_with_the_recordings_that_its_first_attempt_got() -> None:
    """A client asks again under a header with the number of its attempt. The failure was recorded as its end."""
    failure = Interaction(request(("https://a", "x"), MODEL), RecordedResponse(503, attempts=1))
    use = session(Cassette((failure, *recorded([("https://b", "x")], MODEL).interactions)))
    for attempt in range(2):
        sent = RecordedRequest("POST", f"https://new/{MODEL}", (("x-stainless-retry-count", str(attempt)),), b"x")
        decision = use.decide(sent)
        assert isinstance(decision, ReplayDecision)
        assert decision.interaction.response.status == 503
    decision = use.decide(request(("https://new", "x"), MODEL))
    assert isinstance(decision, ReplayDecision)
    assert decision.interaction.response.body == b"0"
    assert isinstance(use.decide(request(("https://new", "x"), MODEL)), RefuseDecision)


def test_where_all_recordings_were_played_a_request_counts_for_the_last_one() -> None:
    # A new recording then comes behind all that were given out, and not among those of the first host.
    slots = [("content@https://a", 0), ("content@https://b", 0)]
    counts = CountedRequests("")
    chosen = []
    for _ in range(3):
        chosen_key, _ = choose_key(slots, request(("https://c", "x"), MODEL), OpenCalls(), counts)
        counts.count_request(chosen_key)
        chosen.append(chosen_key)
    assert chosen == ["content@https://a", "content@https://b", "content@https://b"]
