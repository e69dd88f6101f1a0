"""What a client sends is compared with what was recorded, and what the provider sent follows it."""

from typing import Any

import pytest

from aquila.cassettes.matching.match_rules import MatchRules
from aquila.cassettes.model import End
from aquila.cassettes.web_socket_frames.frame import Close, Frame
from aquila.cassettes.web_socket_frames.replay import ConversationReplay
from tests.cassettes.web_socket_frames.conversations import (
    miss_of,
    received,
    replay_of,
    send,
    sent,
    store,
    texts_of,
    values_of,
)


def test_a_frame_is_delivered_after_what_the_client_had_sent_before_it_and_never_earlier() -> None:
    replay = replay_of(received(1), sent({"n": 1}), received(2), received(3), sent({"n": 2}), received(4))
    assert texts_of(replay.deliverable()) == ["1"]
    assert replay.deliverable() == []
    assert send(replay, {"n": 1}) is None
    assert texts_of(replay.deliverable()) == ["2", "3"]
    assert replay.ended is None
    assert send(replay, {"n": 2}) is None
    assert texts_of(replay.deliverable()) == ["4"]
    assert replay.ended == Close("provider", 1000)


def test_a_client_may_run_ahead_of_its_reader() -> None:
    replay = replay_of(received(1), sent({"n": 1}), received(2), sent({"n": 2}), received(3))
    assert send(replay, {"n": 1}) is None
    assert send(replay, {"n": 2}) is None
    assert texts_of(replay.deliverable()) == ["1", "2", "3"]


def test_the_awaited_message_is_named() -> None:
    replay = replay_of(sent({"type": "response.create"}), sent({"setup": {}}), sent(b"hi"), sent(b"\0", is_text=False))
    seen = []
    for message in ({"type": "response.create"}, {"setup": {}}, b"hi"):
        seen.append(replay.awaited)
        assert send(replay, message) is None
    assert [*seen, replay.awaited] == ["> response.create", "> setup", "> hi", "> 1 bytes"]
    assert send(replay, b"\0", is_text=False) is None
    assert replay.awaited is None


def test_a_silence_lasts_until_the_client_goes_on() -> None:
    frames = [sent(b"a"), received(b"1"), sent(b"b"), received(b"2")]
    replay = replay_of(*(frame._replace(at=10 * (number + 1)) for number, frame in enumerate(frames)))
    seen = []
    for message in (b"a", b"b"):
        seen.append(replay.silence)
        assert send(replay, message) is None
    assert [*seen, replay.silence] == [(None, 10), (20, 30), (40, None)]


def test_json_is_compared_by_value() -> None:
    replay = replay_of(sent({"a": 1, "b": [1.0, "x"], "event_id": "e1"}))
    assert replay.take_sent(b'{"b": [1, "x"],\n "a": 1.0, "event_id": "e2"}', True) is None


def test_another_message_is_a_miss_that_says_where_it_differs() -> None:
    replay = replay_of(
        sent({"type": "session.update"}),
        sent({"type": "item", "item": {"content": [{"text": "Hello"}]}}),
        name="chat.yaml, recording 1",
    )
    assert send(replay, {"type": "session.update"}) is None
    miss = miss_of(replay, {"type": "item", "item": {"content": [{"text": "Goodbye"}]}})
    assert not miss.played_out
    assert miss.title == (
        "item.content[0].text differs from message 2 of 2 that the client had sent in chat.yaml, recording 1"
    )
    assert miss.difference == "item.content[0].text: recorded 'Hello', now 'Goodbye'"
    assert any(line.startswith("  -") and line.endswith('text: "Hello"') for line in miss.text.splitlines())
    assert miss.number == 2


def test_a_binary_frame_is_no_text_frame() -> None:
    miss = miss_of(replay_of(sent({"a": 1})), {"a": 1}, is_text=False)
    assert "frame: recorded 'text', now 'binary'" in miss.text


@pytest.mark.parametrize(
    ("recorded", "now"),
    [({"a": 1}, b"plain"), (b"plain", b"other"), (b"plain", {"a": 1}), ([1], [2]), ({"a": 1}, {"a": True})],
)
def test_any_difference_is_a_miss(recorded: Any, now: Any) -> None:
    miss = miss_of(replay_of(sent(recorded)), now)
    assert miss.difference


def test_a_message_too_many_is_played_out() -> None:
    replay = replay_of(sent({"a": 1}))
    assert send(replay, {"a": 1}) is None
    miss = miss_of(replay, {"a": 1})
    assert miss.played_out
    assert miss.title == "this is message 2 of the client, and 1 message was recorded"


def test_the_settings_for_requests_hold_for_messages() -> None:
    rules = MatchRules(ignore=("response.user",), normalize=("uuid",))
    replay = replay_of(
        sent({"response": {"user": "a"}, "ref": "run 11111111-2222-4333-8444-555555555555"}), rules=rules
    )
    now = {"response": {"user": "b"}, "ref": "run 99999999-2222-4333-8444-555555555555"}
    assert send(replay, now) is None


def test_without_bodies_messages_are_only_counted() -> None:
    replay = replay_of(sent({"a": 1}), rules=MatchRules(("-body",)))
    assert send(replay, {"b": 1}) is None
    miss = miss_of(replay, {"a": 1})
    assert miss.played_out


def test_a_setting_is_advised_where_what_differs_is_new_in_every_run() -> None:
    replay = replay_of(sent({"type": "x", "ref": "11111111-2222-4333-8444-555555555555"}))
    miss = miss_of(replay, {"type": "x", "ref": "99999999-2222-4333-8444-555555555555"})
    assert "aquila_ignore = ref" in miss.text
    assert "aquila_normalize = uuid" in miss.text


def test_secrets_are_compared_redacted_and_not_shown() -> None:
    replay = replay_of(sent({"key": "X", "n": 1}))
    miss = miss_of(replay, {"key": "sk-secret", "n": 2})
    assert "sk-secret" not in miss.text
    assert miss.difference == "n: recorded 1, now 2"


@pytest.mark.parametrize(
    ("close", "end", "ending"),
    [
        (Close("provider", 1011, "overloaded"), "complete", Close("provider", 1011, "overloaded")),
        (Close("client", 1000), "complete", Close("client", 1000)),
        (None, "broken", "broken"),
        (None, "closed", "left"),
        (None, "silent", "left"),
    ],
)
def test_a_replayed_conversation_ends_as_the_recorded_one_did(close: Close | None, end: End, ending: object) -> None:
    replay = replay_of(sent({"a": 1}), received(1), *([close] if close else []), end=end)
    assert replay.ended is None
    assert send(replay, {"a": 1}) is None
    assert replay.ended is None
    replay.deliverable()
    assert replay.ended == ending


def test_a_client_may_leave_at_any_time_and_gets_nothing_more() -> None:
    replay = replay_of(received(1), sent({"a": 1}))
    replay.take_close(1000, "bye")
    assert replay.deliverable() == []
    assert replay.ended == Close("client", 1000, "bye")


def test_streams_wait_each_for_its_own_messages() -> None:
    replay = replay_of(
        sent({"stream_id": "a", "n": 1}),
        sent({"stream_id": "b", "n": 2}),
        received({"stream_id": "a", "n": 3}),
        received({"stream_id": "b", "n": 4}),
        received({"n": 5}),
        received({"stream_id": "a", "n": 6}),
    )
    assert send(replay, {"stream_id": "b", "n": 2}) is None
    assert [value["n"] for value in values_of(replay.deliverable())] == [4]
    assert send(replay, {"stream_id": "a", "n": 1}) is None
    assert [value["n"] for value in values_of(replay.deliverable())] == [3, 5, 6]


def test_a_stream_waits_for_messages_that_name_none() -> None:
    replay = replay_of(sent({"n": 1}), sent({"stream_id": "a"}), received({"stream_id": "a"}))
    assert send(replay, {"stream_id": "a"}) is None
    assert replay.deliverable() == []
    assert send(replay, {"n": 1}) is None
    assert len(replay.deliverable()) == 1


def test_streams_may_be_opened_in_another_order_under_other_names() -> None:
    replay = replay_of(
        sent({"stream_id": "a", "n": 1}),
        sent({"stream_id": "b", "n": 2}),
        received({"stream_id": "a", "n": 3}),
        received({"stream_id": "b", "n": 4}),
        sent({"stream_id": "a", "n": 5}),
    )
    assert send(replay, {"stream_id": "x", "n": 2}) is None
    assert values_of(replay.deliverable()) == [{"stream_id": "x", "n": 4}]
    assert send(replay, {"stream_id": "y", "n": 1}) is None
    assert values_of(replay.deliverable()) == [{"stream_id": "y", "n": 3}]
    miss = miss_of(replay, {"stream_id": "x", "n": 5})
    assert miss.played_out
    assert miss.title == "this is message 2 of stream 'b', and 1 message was recorded"
    assert send(replay, {"stream_id": "y", "n": 5}) is None
    assert miss_of(replay, {"stream_id": "z", "n": 1}).played_out


@pytest.mark.parametrize(("recorded", "now"), [({"stream_id": "a"}, {}), ({}, {"stream_id": "a"})])
def test_a_stream_is_not_what_names_none(recorded: Any, now: Any) -> None:
    miss = miss_of(replay_of(sent({"n": 1, **recorded})), {"n": 1, **now})
    assert not miss.played_out
    assert "stream_id: " in miss.text


@pytest.mark.parametrize(("spelling", "times"), [(b"", 0), (b" ", 2)])
def test_a_message_is_read_once_and_only_if_it_is_written_otherwise(spelling: bytes, times: int) -> None:
    read: list[bytes] = []

    def redact(data: bytes) -> bytes:
        read.append(data)
        return data

    frames = [sent({"n": number}) if number % 10 == 0 else received({"n": number}) for number in range(2000)]
    replay = ConversationReplay(store(*frames), "complete", rules=MatchRules(), redact=redact)
    for frame in frames:
        if frame.sent:
            assert replay.take_sent(frame.data + spelling, True) is None
            replay.deliverable()
    assert replay.ended == Close("provider", 1000)
    assert len(read) == times * 200


def test_a_message_that_was_refused_can_be_passed_over() -> None:
    replay = replay_of(sent({"n": 1}), received(1), sent({"stream_id": "a", "n": 2}), received(2))
    assert miss_of(replay, {"n": 7}).found
    replay.pass_over()
    assert texts_of(replay.deliverable()) == ["1"]
    assert miss_of(replay, {"stream_id": "b", "n": 8}).cure is None
    replay.pass_over()
    assert texts_of(replay.deliverable()) == ["2"]
    assert miss_of(replay, {"stream_id": "b", "n": 9}).played_out
    replay.pass_over()
    assert replay.ended is not None


def test_a_message_is_early_if_the_client_had_sent_it_soon_after_the_one_that_is_expected() -> None:
    replay = replay_of(*(sent({"n": number}) for number in range(20)))
    early = [number for number in range(20) if replay.comes_early(b'{"n": %d}' % number, True)]
    assert early == [1, 2, 3, 4, 5, 6, 7, 8]
    assert not replay.comes_early(b'{"n": 99}', True)


def test_a_message_among_pieces_of_sound_does_not_make_the_end_of_the_sound_less_early() -> None:
    sound = [sent({"type": "input_audio_buffer.append", "audio": "AAAA"}) for _ in range(12)]
    update, commit = {"type": "session.update"}, {"type": "input_audio_buffer.commit"}
    replay = replay_of(*sound[:3], sent(update), *sound[3:], sent(commit))
    for frame in sound:
        assert replay.take_sent(frame.data, True) is None
    assert send(replay, commit) is not None
    assert replay.comes_early(b'{"type": "input_audio_buffer.commit"}', True)
    assert send(replay, update) is None
    assert send(replay, commit) is None


def test_results_of_tools_in_another_order_are_a_miss() -> None:
    """Order counts, as in the body of a request: the model reads them in this one."""
    first, second = (
        {"type": "conversation.item.create", "item": {"type": "function_call_output", "call_id": call, "output": call}}
        for call in ("call_a", "call_b")
    )
    replay = replay_of(received({"calls": ["call_a", "call_b"]}), sent(first), sent(second))
    difference = miss_of(replay, second).difference
    assert difference is not None
    assert difference.startswith("item.call_id: recorded 'call_a', now 'call_b'")
    replay = replay_of(received({"calls": ["call_a", "call_b"]}), sent(first), sent(second))
    assert (send(replay, first), send(replay, second)) == (None, None)


def test_another_sound_is_not_early() -> None:
    def piece(sound: str) -> Frame:
        return sent({"type": "input_audio_buffer.append", "audio": sound})

    replay = replay_of(*(piece(sound) for sound in ("AAAA", "BBBB", "CCCC")))
    assert not replay.comes_early(piece("DDDD").data, True)
    assert replay.take_sent(piece("AAAA").data, True) is None
    assert not replay.comes_early(piece("DDDD").data, True)


@pytest.mark.parametrize(
    ("message", "is_read"),
    [
        ({"type": "response.create", "previous_response_id": "resp_1"}, False),
        ({"type": "conversation.item.create", "item": {"id": "item_1"}}, True),
        ({"type": "input_audio_buffer.append", "audio": "AAAA"}, True),
    ],
)
def test_a_message_that_is_the_recorded_one_to_the_byte_is_read_only_for_ids_and_sound(
    message: dict[str, Any], is_read: bool
) -> None:
    seen: list[bytes] = []

    def redact(data: bytes) -> bytes:
        seen.append(data)
        return data

    replay = ConversationReplay(store(sent(message), received("yes")), "complete", rules=MatchRules(), redact=redact)
    assert send(replay, message) is None
    assert texts_of(replay.deliverable()) == ['"yes"']
    assert bool(seen) is is_read
