"""Ids that a client makes anew are compared by where they occur, and the provider repeats the new ones."""

from typing import Any

import pytest

from tests.cassettes.web_socket_frames.conversations import (
    miss_of,
    received,
    replay_of,
    send,
    sent,
    texts_of,
    values_of,
)


def test_new_ids_are_taken_and_the_provider_repeats_them() -> None:
    replay = replay_of(
        sent({"type": "item.create", "item": {"id": "msg_1", "text": "Hi"}, "event_id": "event_1"}),
        received({"type": "item.created", "item": {"id": "msg_1"}, "previous_item_id": "msg_0"}),
        received({"type": "error", "error": {"event_id": "event_1"}}),
        sent({"type": "item.delete", "item_id": "msg_1"}),
    )
    now = {"type": "item.create", "item": {"id": "msg_9", "text": "Hi"}, "event_id": "event_9"}
    assert send(replay, now) is None
    assert values_of(replay.deliverable()) == [
        {"type": "item.created", "item": {"id": "msg_9"}, "previous_item_id": "msg_0"},
        {"type": "error", "error": {"event_id": "event_9"}},
    ]
    assert send(replay, {"type": "item.delete", "item_id": "msg_9"}) is None


@pytest.mark.parametrize("field", ["id", "stream_id", "request_id", "message_id"])
def test_an_id_that_is_used_again_is_no_other(field: str) -> None:
    for second, fits in (("y", False), ("x", True)):
        replay = replay_of(sent({field: "a", "n": 1}), sent({field: "a", "n": 2}))
        assert send(replay, {field: "x", "n": 1}) is None
        assert (send(replay, {field: second, "n": 2}) is None) == fits


def test_two_ids_are_not_one() -> None:
    replay = replay_of(sent({"id": "a"}), sent({"id": "b"}))
    assert send(replay, {"id": "x"}) is None
    assert miss_of(replay, {"id": "x"}).difference == "id: recorded 'b', now 'x'"
    replay = replay_of(sent({"id": "a"}), sent({"id": "b"}))
    assert send(replay, {"id": "b"}) is None
    assert miss_of(replay, {"id": "b"}).difference == "id: recorded 'one that is new', now 'b'"


def test_ids_may_be_exchanged() -> None:
    replay = replay_of(sent({"id": "aaaa"}), sent({"id": "bbbb"}), received(["aaaa", "bbbb", {"aaaa": 1}]))
    assert send(replay, {"id": "bbbb"}) is None
    assert send(replay, {"id": "aaaa"}) is None
    assert values_of(replay.deliverable()) == [["bbbb", "aaaa", {"bbbb": 1}]]


def test_an_id_of_the_provider_must_be_repeated_as_it_is() -> None:
    replay = replay_of(received({"item": {"id": "item_1"}}), sent({"type": "x", "item": {"id": "item_1"}}))
    assert miss_of(replay, {"type": "x", "item": {"id": "item_2"}}).difference == (
        "item.id: recorded 'item_1', now 'item_2'"
    )
    assert send(replay, {"type": "x", "item": {"id": "item_1"}}) is None


def test_an_id_that_was_the_clients_is_not_the_providers_now() -> None:
    replay = replay_of(received({"item": {"id": "item_1"}}), sent({"id": "mine"}))
    assert miss_of(replay, {"id": "item_1"}).difference == "id: recorded 'mine', now 'item_1'"


def test_an_id_of_the_client_that_the_provider_echoes_stays_the_clients() -> None:
    replay = replay_of(sent({"id": "a1"}), received({"id": "a1"}), sent({"id": "a1"}))
    assert send(replay, {"id": "b1"}) is None
    assert send(replay, {"id": "b1"}) is None


@pytest.mark.parametrize(
    ("recorded", "now", "fits"),
    [
        ({"item_id": "mine"}, {"item_id": "other"}, False),
        ({"item_id": "root"}, {"item_id": "root"}, True),
        ({"previous_item_id": "first"}, {"previous_item_id": "second"}, True),
        ({"previous_item_id": "first"}, {"previous_item_id": "first"}, False),
        ({"input": [{"id": "first"}]}, {"input": [{"id": "second"}]}, True),
        ({"input": [{"id": "first"}]}, {"input": [{"id": "first"}]}, True),
        ({"input": [{"id": "first"}, 1]}, {"input": [{"id": "second"}]}, False),
        ({"input": [{"text": "first"}]}, {"input": [{"text": "second"}]}, False),
    ],
)
def test_fields_that_repeat_an_id(recorded: Any, now: Any, fits: bool) -> None:
    replay = replay_of(sent({"id": "first"}), sent(recorded))
    assert send(replay, {"id": "second"}) is None
    assert (send(replay, now) is None) == fits


def test_texts_are_not_taken_for_ids() -> None:
    replay = replay_of(
        sent({"id": "1"}),
        received(b'{"id": "1", "index": "1", "text": "a 1", "message_id":"1", "quote": "say \\"1\\"", "n": 1}'),
    )
    assert send(replay, {"id": "7"}) is None
    assert texts_of(replay.deliverable()) == [
        '{"id": "7", "index": "1", "text": "a 1", "message_id":"7", "quote": "say \\"1\\"", "n": 1}'
    ]


def test_without_another_id_every_byte_stays() -> None:
    frame = received(b'{ "id" : "abcd", "x": "\\u0061" }')
    replay = replay_of(sent({"id": "abcd"}), frame)
    assert send(replay, {"id": "abcd"}) is None
    assert replay.deliverable() == [frame]


def test_a_binary_message_of_the_provider_gets_ids_only_if_it_is_json() -> None:
    replay = replay_of(
        sent({"id": "abcd"}), received({"id": "abcd"}, is_text=False), received(b'\0"abcd"', is_text=False)
    )
    assert send(replay, {"id": "wxyz"}) is None
    assert texts_of(replay.deliverable()) == ['{"id": "wxyz"}', '\0"abcd"']
