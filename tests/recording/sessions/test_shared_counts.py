"""Several processes in one scope: their requests are counted together, and their recordings stored as one."""

from __future__ import annotations

from collections import Counter, defaultdict

from hypothesis import given
from hypothesis import strategies as st

from aquila.cassettes.matching.match_rules import MatchRules
from aquila.cassettes.matching.miss_message import Explanation
from aquila.cassettes.model import Cassette, RecordedRequest
from aquila.cassettes.redaction.redactor import Redactor
from aquila.cassettes.storage.merging import Changes, NewRecording, merge_changes
from aquila.recording.sessions.session import Session
from aquila.recording.sessions.session_decisions import RecordDecision, RefuseDecision, ReplayDecision
from tests.cassettes.storage.test_merging import interaction, key


def answers(cassette: Cassette) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for row in cassette.interactions:
        found[key(row.request)].append(row.response.body.decode())
    return found


class Shared:
    """Counts requests for several processes."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.looks = 0

    def count_request(self, label: str) -> int:
        self.counts[label] += 1
        return self.counts[label] - 1

    def count_of(self, label: str) -> int:
        self.looks += 1
        return self.counts[label]


def session(cassette: Cassette = Cassette(), mode: str = "replay", repeat: str = "error") -> Session:  # noqa: B008 -- immutable
    return Session(
        "name",
        cassette,
        mode=mode,
        rules=MatchRules(),
        identify_request=key,
        redactor=Redactor.from_environment({}),
        explain_miss=lambda missed: Explanation(f"miss after {missed.earlier_count}"),
        repeat=repeat,
    )


# A run: the key and the process of each request, in the order in which they are made; some answers are failures.
runs = st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 2), st.sampled_from([200, 200, 429])), max_size=12)


@given(runs, st.booleans())
def test_recordings_of_several_processes_are_stored_as_if_one_had_made_them(
    run: list[tuple[str, int, int]], early: bool
) -> None:
    alone, together = session(mode="missing"), [session(mode="missing") for _ in range(3)]
    shared = Shared()
    for each in together:
        each.share_counts(shared)
    for number, (name, process, status) in enumerate(run):
        answered = interaction(name, str(number), status)
        for each in (alone, together[process]):
            decision = each.decide(answered.request)
            assert isinstance(decision, RecordDecision)
            each.add_recording(NewRecording(decision.key, decision.position, decision.order, answered))
    elsewhere = [row for each in together[1:] for row in each.new_recordings]
    one = merge_changes(Cassette(), alone.compute_changes(record_errors="last", drop_unused=False), key)
    many = merge_changes(
        Cassette(), together[0].compute_changes(record_errors="last", drop_unused=False, elsewhere=elsewhere), key
    )
    assert answers(many) == answers(one)


@given(runs)
def test_each_request_gets_the_next_recording_whichever_process_makes_it(run: list[tuple[str, int, int]]) -> None:
    cassette = Cassette.from_interactions(interaction(name, str(number)) for number, (name, _, _) in enumerate(run))
    shared, together = Shared(), [session(cassette) for _ in range(3)]
    for each in together:
        each.share_counts(shared)
    given_out = []
    for name, process, _ in run:
        following = together[process].find_next(RecordedRequest("POST", f"https://x/{name}"))
        decision = together[process].decide(RecordedRequest("POST", f"https://x/{name}"))
        assert isinstance(decision, ReplayDecision)
        assert following is not None
        assert decision.interaction is cassette.interactions[following]
        given_out.append(decision.interaction)
    assert given_out == list(cassette.interactions)
    assert shared.looks == len(run)  # each look asks a storage
    together[0].adopt_shared_plays()
    assert not together[0].plays.unplayed


def test_requests_counted_before_sharing_are_handed_over() -> None:
    cassette = Cassette.from_interactions([interaction("a", "1"), interaction("a", "2")])
    one, other, shared = session(cassette), session(cassette), Shared()
    one.decide(cassette.interactions[0].request)
    one.share_counts(shared)
    other.share_counts(shared)
    decision = other.decide(cassette.interactions[0].request)
    assert isinstance(decision, ReplayDecision)
    assert decision.interaction.response.body == b"2"
    assert isinstance(one.decide(cassette.interactions[0].request), RefuseDecision)


def test_if_the_first_recording_answers_all_no_other_counts_as_played_elsewhere() -> None:
    cassette = Cassette.from_interactions([interaction("a", "1"), interaction("a", "2")])
    one, other, shared = session(cassette, repeat="first"), session(cassette, repeat="first"), Shared()
    one.share_counts(shared)
    other.share_counts(shared)
    for _ in range(2):
        decision = other.decide(cassette.interactions[0].request)
        assert isinstance(decision, ReplayDecision)
        assert decision.interaction.response.body == b"1"
    one.adopt_shared_plays()
    assert [number for number, _ in one.plays.unplayed] == [2]


def test_catching_up_without_sharing_changes_nothing() -> None:
    alone = session(Cassette.from_interactions([interaction("a", "1")]))
    alone.adopt_shared_plays()
    assert alone.plays.unplayed


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 9)), max_size=6),
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 20)), max_size=8),
)
def test_additions_stand_behind_the_recordings_that_their_positions_follow(
    stored: list[tuple[str, int]], orders: list[tuple[str, int]]
) -> None:
    before = Cassette.from_interactions(interaction(name, f"old{number}") for number, (name, _) in enumerate(stored))
    positions = Counter(name for name, _ in stored)
    rows = []
    for number, (name, order) in enumerate(orders):
        rows.append(NewRecording(name, positions[name], order, interaction(name, f"new{number}")))
        positions[name] += 1
    merged = answers(merge_changes(before, Changes(tuple(sorted(rows, key=lambda row: row.order))), key))
    expected = answers(before)
    for row in rows:
        expected[row.key].append(row.interaction.response.body.decode())
    assert merged == expected


def test_requests_that_were_made_before_another_process_came_count_for_it_too() -> None:
    cassette = Cassette.from_interactions(interaction("a", f"answer {number}") for number in range(4))
    shared, here, there = Shared(), session(cassette), session(cassette)
    request = interaction("a", "").request
    for _ in range(2):
        here.decide(request)
    here.share_counts(shared)
    there.share_counts(shared)
    decisions = [there.decide(request), here.decide(request), there.decide(request)]
    played = [each.interaction.response.body for each in decisions if isinstance(each, ReplayDecision)]
    assert played == [b"answer 2", b"answer 3"]
    assert isinstance(decisions[2], RefuseDecision)
