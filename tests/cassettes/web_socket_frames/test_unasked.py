"""The first message of a provider, which nobody asked for, is stored first: recordings must not depend on a race."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aquila.cassettes.matching.match_rules import MatchRules
from aquila.cassettes.web_socket_frames.frame import Close, Frame
from aquila.cassettes.web_socket_frames.replay import ConversationReplay
from aquila.cassettes.web_socket_frames.unasked import put_unasked_first
from tests.cassettes.web_socket_frames.conversations import received, send, sent, store, values_of

CREATED: dict[str, Any] = {"type": "session.created", "session": {"id": "sess_1"}}
UPDATE: dict[str, Any] = {"type": "session.update"}
APPEND: dict[str, Any] = {"type": "input_audio_buffer.append", "audio": "AAAA"}


def at(frame: Frame, moment: int) -> Frame:
    return frame._replace(at=moment)


@given(st.integers(0, 4))
def test_an_unasked_message_is_stored_first_wherever_it_arrived(place: int) -> None:
    frames = [at(sent(UPDATE), 20), *[at(sent({**APPEND, "n": number}), 21) for number in range(3)]]
    rest = [at(received({"type": "session.updated"}), 50), Close("client", 1000, at=60)]
    raced = [*frames[:place], at(received(CREATED), 22), *frames[place:], *rest]
    expected = [at(received(CREATED), 22 if place == 0 else 20), *frames, *rest]
    assert list(put_unasked_first(store(*raced))) == store(*expected)


@pytest.mark.parametrize(
    "frames",
    [
        [],
        [sent(UPDATE)],
        [sent(UPDATE), received({"type": "session.updated"}), received(CREATED)],
        [sent(UPDATE), received({"setupComplete": {}})],
        [sent(UPDATE), received(b"session.created")],
        [sent(UPDATE), received([CREATED])],
        [sent(UPDATE), received(b"\0", is_text=False)],
        [sent(UPDATE), received({"type": ["session.created"]})],
    ],
)
def test_all_other_messages_stay_where_they_arrived(frames: list[Frame]) -> None:
    stored = store(*frames)
    assert list(put_unasked_first(stored)) == stored


def test_a_program_that_waits_for_it_replays_what_one_that_does_not_has_recorded() -> None:
    raced = store(sent(UPDATE), received(CREATED), received({"type": "session.updated"}), Close("client", 1000))
    chunks = put_unasked_first(raced)
    replay = ConversationReplay(chunks, "complete", rules=MatchRules(), redact=bytes)
    assert values_of(replay.deliverable()) == [CREATED]
    assert send(replay, UPDATE) is None
    assert values_of(replay.deliverable()) == [{"type": "session.updated"}]
