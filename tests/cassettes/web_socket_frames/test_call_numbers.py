"""Numbers of JSON-RPC calls are compared by where they occur, and the answers to a client bear its own numbers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cassettes.web_socket_frames.conversations import (
    miss_of,
    received,
    replay_of,
    send,
    sent,
    texts_of,
    values_of,
)


def call(number: Any, method: str = "do", **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params}


def answer(number: Any, **result: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "result": result}


def test_two_calls_are_not_one() -> None:
    replay = replay_of(sent(call(1)), sent(call(2)))
    assert send(replay, call(5)) is None
    assert miss_of(replay, call(5)).difference == "id: recorded 2, now 5"
    replay = replay_of(sent(call(1)), sent(call(2)))
    assert send(replay, call(2)) is None
    assert miss_of(replay, call(2)).difference == "id: recorded 'one that is new', now 2"


def test_a_call_of_the_provider_is_answered_under_its_number() -> None:
    replay = replay_of(sent(call(1)), received(call(1, "ask")), sent(answer(1)))
    assert send(replay, call(9)) is None
    assert values_of(replay.deliverable()) == [call(1, "ask")]
    assert miss_of(replay, answer(9)).difference == "id: recorded 1, now 9"
    assert send(replay, answer(1)) is None


@pytest.mark.parametrize(
    "message", [{"id": 1}, {"id": 1, "method": "do"}, {"jsonrpc": "2.0", "id": True, "method": "x"}]
)
def test_other_numbers_are_compared_as_they_are(message: dict[str, Any]) -> None:
    replay = replay_of(sent(message))
    assert send(replay, {**message, "id": 2}) is not None
    assert send(replay, message) is None


@pytest.mark.parametrize(
    "written",
    [
        '{"jsonrpc": "2.0", "result": {"id": 1, "text": "\\"id\\": 1, }{"}, "id" :\n 1}',
        '{"id":1,"jsonrpc":"2.0","result":[{"id":1}],"error":"id"}',
        '{"jsonrpc":"2.0","id":1}',
    ],
)
def test_only_the_number_itself_is_another(written: str) -> None:
    replay = replay_of(sent(call(1)), received(written.encode()))
    assert send(replay, call(23)) is None
    (delivered,) = texts_of(replay.deliverable())
    assert json.loads(delivered) == {**json.loads(written), "id": 23}
    assert len(delivered) == len(written) + 1


NUMBERS = st.integers(-5, 5)


@given(st.lists(NUMBERS, max_size=8), st.permutations(range(-5, 6)), st.integers(-100, 100))
def test_any_renaming_replays_and_gives_the_client_its_own(recorded: list[int], order: list[int], shift: int) -> None:
    now_of = {number: order[number + 5] + shift for number in range(-5, 6)}
    frames = [frame for number in recorded for frame in (sent(call(number)), received(answer(number, said=number)))]
    replay = replay_of(*frames)
    for number in recorded:
        assert send(replay, call(now_of[number])) is None
        assert values_of(replay.deliverable()) == [answer(now_of[number], said=number)]
    assert replay.ended is not None


@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=8))
def test_numbers_that_are_used_otherwise_than_the_recorded_ones_are_a_miss(pairs: list[tuple[int, int]]) -> None:
    replay = replay_of(*[sent(call(recorded)) for recorded, _ in pairs])
    forth: dict[int, int] = {}
    back: dict[int, int] = {}
    for recorded, now in pairs:
        fits = forth.setdefault(recorded, now) == now and back.setdefault(now, recorded) == recorded
        assert (send(replay, call(now)) is None) == fits
        if not fits:
            return
