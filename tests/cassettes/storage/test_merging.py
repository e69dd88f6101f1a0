"""Merging recordings into a cassette that others may have changed."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aquila.cassettes.model import Cassette, End, Interaction, RecordedChunk, RecordedRequest, RecordedResponse
from aquila.cassettes.storage.merging import Changes, NewRecording, drop_retried_failures, merge_changes
from aquila.cassettes.storage.recording_slots import RecordingPlayed, is_failure


def interaction(key: str, answer: str, status: int = 200) -> Interaction:
    return Interaction(
        RecordedRequest("POST", f"https://x/{key}"), RecordedResponse(status, chunks=(RecordedChunk(answer.encode()),))
    )


def key(request: RecordedRequest) -> str:
    return request.url.rpartition("/")[2]


def answers(cassette: Cassette) -> list[str]:
    return [f"{key(row.request)}:{row.response.body.decode()}" for row in cassette.interactions]


def cassette(*rows: str) -> Cassette:
    return Cassette.from_interactions(interaction(*row.split(":")) for row in rows)


def recorded(key: str, position: int, order: int, answer: str, status: int = 200, *, call: str = "") -> NewRecording:
    return NewRecording(key, position, order, interaction(key, answer, status), call=call)


def test_additions_to_an_untouched_cassette_come_last_in_the_order_of_their_requests() -> None:
    changes = Changes((recorded("c", 0, 0, "3"), recorded("d", 0, 1, "4")))
    assert answers(merge_changes(cassette("a:1", "b:2"), changes, key)) == ["a:1", "b:2", "c:3", "d:4"]


def test_a_recording_that_replaces_a_drifted_one_stands_where_that_stood() -> None:
    changes = Changes(
        (recorded("b2", 0, 1, "new"),),
        used=(RecordingPlayed("a", 0, 0), RecordingPlayed("c", 0, 2)),
        drop=frozenset({("b", 0)}),
    )
    assert answers(merge_changes(cassette("a:1", "b:2", "c:3"), changes, key)) == ["a:1", "b2:new", "c:3"]


def test_a_recording_made_between_two_that_were_played_stands_between_them() -> None:
    used = (RecordingPlayed("b", 0, 4), RecordingPlayed("a", 0, 0))
    rows = (recorded("z", 0, 6, "4"), recorded("y", 0, 2, "2"))
    assert answers(merge_changes(cassette("a:1", "b:3"), Changes(rows, used), key)) == ["a:1", "y:2", "b:3", "z:4"]


def test_a_recording_made_before_all_others_stands_first() -> None:
    changes = Changes((recorded("z", 0, 0, "0"),), used=(RecordingPlayed("a", 0, 1),))
    assert answers(merge_changes(cassette("a:1"), changes, key)) == ["z:0", "a:1"]


def test_recordings_of_one_key_stand_in_the_order_of_their_positions() -> None:
    # Each process counts its own requests: the n-th of a key is the n-th in the file, whichever was sent first.
    rows = (recorded("k", 1, 0, "second"), recorded("k", 0, 1, "first"), recorded("a", 1, 2, "later"))
    assert answers(merge_changes(cassette("a:1"), Changes(rows), key)) == ["a:1", "k:first", "k:second", "a:later"]


def test_a_new_recording_stands_before_and_one_behind_the_stored_one_of_its_key_as_their_positions_say() -> None:
    changes = Changes(
        (recorded("k", 2, 0, "new 2"), recorded("k", 0, 1, "new 0")),
        used=(RecordingPlayed("a", 0, 2),),
        drop=frozenset({("k", 0)}),
    )
    merged = answers(merge_changes(cassette("k:old 0", "k:old 1", "a:1"), changes, key))
    assert merged == ["k:new 0", "k:old 1", "k:new 2", "a:1"]


def test_the_same_request_to_another_host_stands_behind_the_one_that_was_sent_before() -> None:
    # A third host is answered by both, in the order of the cassette.
    used = (RecordingPlayed("same@one", 0, 0), RecordingPlayed("b", 0, 1))
    changes = Changes((recorded("same@two", 0, 2, "2"),), used)
    assert answers(merge_changes(cassette("b:1", "same@one:1"), changes, key)) == ["b:1", "same@one:1", "same@two:2"]


def test_a_taken_position_keeps_what_it_has_unless_everything_is_recorded_again() -> None:
    stored = cassette("a:old")
    assert answers(merge_changes(stored, Changes((recorded("a", 0, 0, "new"),)), key)) == ["a:old"]
    assert answers(merge_changes(stored, Changes((recorded("a", 0, 0, "new"),), replace=True), key)) == ["a:new"]


def test_recordings_that_another_process_has_added_meanwhile_are_kept() -> None:
    meanwhile = cassette("a:1", "other:2")
    changes = Changes((recorded("b", 0, 1, "3"),), used=(RecordingPlayed("a", 0, 0),), drop=frozenset({("gone", 0)}))
    assert answers(merge_changes(meanwhile, changes, key)) == ["a:1", "b:3", "other:2"]


def test_a_scope_that_failed_keeps_what_the_program_itself_has_closed_or_read_to_its_end() -> None:
    rows: list[NewRecording] = []
    ends: list[tuple[str, bool, End]] = [
        ("cut", True, "closed"),
        ("whole", True, "complete"),
        ("left", False, "closed"),
    ]
    for name, left_open, end in ends:
        row = recorded(name, 0, len(rows), "")
        response = replace(row.interaction.response, end=end)
        rows.append(replace(row, left_open=left_open, interaction=replace(row.interaction, response=response)))
    assert [row.key for row in Changes(tuple(rows)).without_left_open().recorded] == ["whole", "left"]


@pytest.mark.parametrize("status", [408, 409, 429, 500, 503, 529])
def test_a_failure_is_left_out_only_if_the_same_call_got_another_answer(status: int) -> None:
    rows = [
        recorded("a", 0, 0, "busy", status, call="1"),
        recorded("a", 1, 1, "fine", call="1"),
        recorded("a", 2, 2, "busy", status, call="2"),
        recorded("a", 3, 3, "busy again", status, call="2"),
        recorded("a", 4, 4, "fine", call="3"),
        recorded("b", 0, 5, "busy", status),
    ]
    kept = drop_retried_failures(rows, record_errors="last")
    assert [
        (row.key, row.position, row.interaction.response.body, row.interaction.response.attempts) for row in kept
    ] == [("a", 0, b"fine", 0), ("a", 1, b"busy again", 2), ("a", 2, b"fine", 0), ("b", 0, b"busy", 0)]
    every = drop_retried_failures(rows, record_errors="all")
    assert [row.interaction.response.body for row in every] == [row.interaction.response.body for row in rows]


def test_an_answer_has_the_place_of_the_first_attempt_of_its_call() -> None:
    # Equal requests of several tasks: the first of them was refused, and tried again after the others.
    rows = [recorded("a", 0, 0, "busy", 429, call="1"), recorded("a", 1, 1, "other", call="2")]
    rows += [recorded("a", 2, 2, "third"), recorded("a", 3, 3, "first", call="1")]
    kept = drop_retried_failures(rows, record_errors="last")
    assert [(row.position, row.interaction.response.body) for row in kept] == [
        (1, b"other"),
        (2, b"third"),
        (0, b"first"),
    ]
    every = drop_retried_failures(rows, record_errors="all")
    assert [(row.position, row.interaction.response.body, row.interaction.response.retried) for row in every] == [
        (0, b"busy", True),
        (2, b"other", False),
        (3, b"third", False),
        (1, b"first", False),
    ]


def test_what_a_program_asks_again_follows_its_failure_where_other_calls_made_the_request() -> None:
    rows = [recorded("a", 0, 0, "busy", 429, call="1"), recorded("a", 1, 1, "other", call="2")]
    rows += [recorded("a", 2, 2, "busy again", 503, call="1/3"), recorded("a", 3, 3, "first", call="1/4")]
    kept = sorted(drop_retried_failures(rows, record_errors="last"), key=lambda row: row.position)
    responses = [row.interaction.response for row in kept]
    assert [response.body for response in responses] == [b"busy", b"busy again", b"first", b"other"]
    assert [response.retried for response in responses] == [True, True, False, False]
    alone = drop_retried_failures([rows[0], *rows[2:]], record_errors="last", whole=True)
    assert not any(row.interaction.response.retried for row in alone)


def test_answers_keep_their_order_where_the_stack_does_not_tell_tasks_apart() -> None:
    """As with uvloop, where `run_until_complete` is the last function of each stack."""
    rows = [recorded("a", 0, 0, "busy", 429, call="1@job"), recorded("a", 1, 1, "busy, too", 429, call="2@job")]
    rows += [recorded("a", 2, 2, "first", call="2@job/3"), recorded("a", 3, 3, "second", call="1@job/4")]
    kept = drop_retried_failures(rows, record_errors="last")
    assert [row.position for row in kept] == [0, 1, 2, 3]


@pytest.mark.parametrize("end", ["broken", "silent"])
def test_an_answer_that_broke_off_is_overcome_by_the_next_of_its_call(end: End) -> None:
    request = RecordedRequest("POST", "https://x/a")
    broke = NewRecording("a", 0, 0, Interaction(request, RecordedResponse(0, end=end)), call="1")
    assert drop_retried_failures([broke, recorded("a", 1, 1, "fine", call="1")], record_errors="last") == [
        recorded("a", 0, 1, "fine", call="1")
    ]


def test_of_two_recordings_with_one_position_the_one_that_was_asked_for_first_stays() -> None:
    # Two processes count apart, and their journals are read one after the other.
    rows = [recorded("a", 0, 5, "later"), recorded("b", 0, 3, "b"), recorded("a", 0, 2, "earlier")]
    kept = drop_retried_failures(rows, record_errors="last")
    assert [row.interaction.response.body for row in kept] == [b"earlier", b"b"]


def test_a_failure_gives_way_to_the_answer_that_another_process_got_to_the_same_request() -> None:
    # A queue of jobs that starts a process for each job has tried again.
    rows = [recorded("a", 0, 0, "busy", 429, call="1"), recorded("a", 0, 1, "fine", call="2")]
    assert drop_retried_failures(rows, record_errors="last") == [rows[1]]
    assert drop_retried_failures([rows[0], replace(rows[0], order=1)], record_errors="last")[0].order == 0


def test_a_gap_is_a_request_without_an_answer_where_every_request_was_recorded() -> None:
    rows = [recorded("a", 0, 0, "1"), recorded("a", 2, 1, "3")]
    assert [row.position for row in drop_retried_failures(rows, record_errors="last", whole=True)] == [0, 1]
    assert [row.position for row in drop_retried_failures(rows, record_errors="last")] == [0, 2]


def test_positions_stay_in_their_order_whichever_request_was_sent_first() -> None:
    rows = [recorded("a", 2, 0, "second"), recorded("a", 0, 1, "first")]
    kept = drop_retried_failures(rows, record_errors="last", whole=True)
    assert [(row.position, row.interaction.response.body) for row in kept] == [(1, b"second"), (0, b"first")]


def test_the_kept_recordings_are_in_the_order_of_their_requests() -> None:
    rows = [recorded("a", 0, 0, "1"), recorded("b", 0, 1, "2"), recorded("a", 1, 2, "3"), recorded("b", 1, 3, "4")]
    assert drop_retried_failures(rows, record_errors="last") == rows


def test_a_refusal_is_an_answer_like_any_other() -> None:
    rows = [recorded("a", 0, 0, "no", 400), recorded("a", 1, 1, "yes")]
    assert drop_retried_failures(rows, record_errors="last") == rows


keys = st.sampled_from("abc")
stored_rows = st.lists(st.tuples(keys, st.integers(0, 9).map(str)), max_size=8).map(
    lambda rows: Cassette.from_interactions(interaction(*row) for row in rows)
)


@st.composite
def changes_of(draw: st.DrawFn) -> Changes:
    orders = st.integers(0, 99)
    new = draw(st.lists(st.tuples(keys, orders, st.integers(10, 99).map(str)), max_size=8))
    first = {k: draw(st.integers(0, 3)) for k in "abc"}
    counts: dict[str, int] = defaultdict(int)
    rows = []
    for k, order, answer in sorted(new, key=lambda row: row[1]):
        rows.append(recorded(k, first[k] + counts[k], order, answer))
        counts[k] += 1
    used = draw(st.lists(st.builds(RecordingPlayed, keys, st.integers(0, 3), orders), max_size=8))
    slots = {row.slot for row in used} | {row.slot for row in rows}
    drop = draw(st.frozensets(st.tuples(keys, st.integers(0, 3)), max_size=4)) - slots
    return Changes(tuple(rows), tuple(used), drop, draw(st.booleans()))


@given(stored_rows, changes_of())
def test_every_recording_is_in_the_result_once_and_the_rest_keeps_its_order(stored: Cassette, changes: Changes) -> None:
    merged = merge_changes(stored, changes, key)
    counts: dict[str, int] = defaultdict(int)
    slots = []
    for row in stored.interactions:
        slots.append((key(row.request), counts[key(row.request)]))
        counts[key(row.request)] += 1
    new = {row.slot: row.interaction for row in changes.recorded}
    survivors = [
        new[slot] if changes.replace and slot in new else row
        for slot, row in zip(slots, stored.interactions, strict=True)
        if slot not in changes.drop
    ]
    additions = [row for slot, row in new.items() if slot not in slots or slot in changes.drop]
    assert len(merged.interactions) == len(survivors) + len(additions)
    remaining = [row for row in merged.interactions if not any(row is addition for addition in additions)]
    assert remaining == survivors
    for addition in additions:
        assert sum(row is addition for row in merged.interactions) == 1


@given(stored_rows, changes_of())
def test_merging_twice_is_merging_once(stored: Cassette, changes: Changes) -> None:
    # Positions count from 0 without gaps in a file, so only recordings that follow on from it are stable.
    counts: dict[str, int] = defaultdict(int)
    for row in stored.interactions:
        counts[key(row.request)] += 1
    rows = tuple(row for row in changes.recorded if row.position <= counts[row.key])
    once = merge_changes(stored, Changes(rows, changes.used), key)
    assert merge_changes(once, Changes(rows, changes.used), key) == once


@settings(deadline=None)
@given(st.integers(1, 2000))
@pytest.mark.slow
def test_a_long_row_of_new_recordings_keeps_the_order_of_its_requests(count: int) -> None:
    rows = tuple(recorded(f"k{number}", 0, number, str(number)) for number in range(count))
    merged = merge_changes(Cassette(), Changes(rows), key)
    assert [row.interaction for row in rows] == list(merged.interactions)


def test_a_conversation_is_no_failure_however_it_ended() -> None:
    assert not is_failure(RecordedResponse(101, end="broken"))
    assert not is_failure(RecordedResponse(101, end="silent"))
    assert is_failure(RecordedResponse(503))
