"""A scripted conversation without a connection: when and in which order its messages are delivered."""

from __future__ import annotations

import itertools
import json

from hypothesis import given
from hypothesis import strategies as st

from aquila.cassettes.model import RecordedRequest
from aquila.cassettes.web_socket_frames.frame import Close
from aquila.scripting.conversation import ScriptedConversation, ScriptedTurn
from aquila.wire_forms.conversations.conversation_form import Question, write_message
from aquila.wire_forms.conversations.openai_realtime import RealtimeConversation
from aquila.wire_forms.conversations.openai_responses import ResponsesConversation

HANDSHAKE = RecordedRequest("GET", "wss://api.openai.com/v1/responses")


class Clock:
    """A clock that a test winds on."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def converse(clock: Clock, *times: int, ending: Close | None = None) -> ScriptedConversation:
    """A conversation whose answers have a message at each of some times. A message names its answer and its number."""

    def answer(question: Question) -> ScriptedTurn:
        said = json.loads(question.request.body)["input"]
        return ScriptedTurn([write_message(f"{said}{number}", at) for number, at in enumerate(times)], ending)

    return ScriptedConversation(ResponsesConversation(HANDSHAKE), answer, clock)


def ask(conversation: ScriptedConversation, said: str, lane: str | None = None) -> None:
    message = {"type": "response.create", "input": said, **({} if lane is None else {"stream_id": lane})}
    conversation.take_sent(json.dumps(message).encode())


def take(conversation: ScriptedConversation) -> list[tuple[float, str]]:
    return [(round(pause, 3), json.loads(frame.data)) for pause, frame in conversation.deliverable()]


def test_answers_on_different_streams_overlap_in_time() -> None:
    clock = Clock()
    conversation = converse(clock, 500, 1000)
    ask(conversation, "a", "1")
    assert take(conversation) == [(0.5, "a0")]  # on its way
    clock.now += 0.1
    ask(conversation, "b", "2")
    clock.now += 0.4
    assert take(conversation) == [(0.1, "b0")]
    clock.now += 0.1
    assert take(conversation) == [(0.4, "a1")]
    clock.now += 0.4
    assert take(conversation) == [(0.1, "b1")]
    assert take(conversation) == []


def test_a_clock_that_stands_still_delays_nothing() -> None:
    conversation = converse(Clock(), 500, 1000)
    ask(conversation, "a")
    assert [take(conversation), take(conversation), take(conversation)] == [[(0.5, "a0")], [(0.5, "a1")], []]


def test_questions_of_one_stream_are_answered_one_after_the_other() -> None:
    clock = Clock()
    conversation = converse(clock, 0, 100)
    ask(conversation, "a", "1")
    ask(conversation, "b", "1")
    assert take(conversation) == [(0.0, "a0"), (0.1, "a1")]
    clock.now += 0.1
    assert take(conversation) == [(0.0, "b0"), (0.1, "b1")]


def test_streams_that_need_no_time_take_turns() -> None:
    conversation = converse(Clock(), 0, 0)
    ask(conversation, "a", "1")
    ask(conversation, "b", "2")
    assert [said for _, said in take(conversation)] == ["a0", "b0", "a1", "b1"]


def test_it_ends_after_its_last_message_and_then_ignores_questions() -> None:
    conversation = converse(Clock(), 0, ending=Close("provider", 1011))
    ask(conversation, "a")
    assert conversation.ended is None
    take(conversation)
    assert conversation.ended == Close("provider", 1011)
    ask(conversation, "b")
    assert take(conversation) == []


def test_nothing_is_delivered_to_a_client_that_has_closed() -> None:
    conversation = converse(Clock(), 0)
    ask(conversation, "a")
    conversation.take_close(1000, "")
    assert take(conversation) == []
    assert conversation.ended == Close("client", 1000)


def converse_in_realtime(clock: Clock, seconds: int) -> ScriptedConversation:
    """A session whose answers ``r1``, ``r2``, and so on take so many seconds each. Its greeting was delivered."""
    ids = itertools.count(1)

    def answer(question: Question) -> ScriptedTurn:
        response = {"id": f"r{next(ids)}", "output": []}
        told = [("response.created", 0), ("response.done", seconds * 1000)]
        return ScriptedTurn([write_message({"type": kind, "response": response}, at) for kind, at in told])

    conversation = ScriptedConversation(RealtimeConversation(HANDSHAKE), answer, clock)
    conversation.deliverable()
    return conversation


def hear(conversation: ScriptedConversation) -> list[tuple[float, str]]:
    """The events that may be delivered now, each with the answer that it begins or ends, and how that has ended."""
    heard = []
    for pause, frame in conversation.deliverable():
        event = json.loads(frame.data)
        response = event.get("response", {})
        words = (event["type"], response.get("id"), response.get("status"))
        heard.append((pause, " ".join(word for word in words if word)))
    return heard


def test_answers_behind_a_cancelled_answer_are_delivered_at_once() -> None:
    clock = Clock()
    conversation = converse_in_realtime(clock, 600)
    conversation.take_sent(b'{"type":"response.create"}')
    assert [said for _, said in hear(conversation)] == ["response.created r1", "response.done r1"]
    clock.now += 600
    conversation.take_sent(b'{"type":"response.create"}')
    conversation.take_sent(b'{"type":"session.update","session":{}}')
    conversation.take_sent(b'{"type":"response.create"}')
    clock.now += 57
    conversation.take_sent(b'{"type":"response.cancel"}')
    assert hear(conversation) == [
        (0.0, "response.created r2"),
        (0.0, "response.done r2 cancelled"),
        (0.0, "session.updated"),
        (0.0, "response.created r3"),
        (600.0, "response.done r3"),
    ]
    assert conversation.frame_count == 8  # with session.created, and without what was cancelled


def test_cancelling_a_waiting_answer_does_not_change_the_time_of_the_one_before() -> None:
    clock = Clock()
    conversation = converse_in_realtime(clock, 10)
    clock.now += 100
    conversation.take_sent(b'{"type":"response.create"}')
    conversation.take_sent(b'{"type":"response.create"}')
    conversation.take_sent(b'{"type":"session.update","session":{}}')
    clock.now += 4
    conversation.take_sent(b'{"type":"response.cancel","response_id":"r2"}')
    assert hear(conversation) == [(0.0, "response.created r1"), (6.0, "response.done r1")]
    clock.now += 6
    assert [said for _, said in hear(conversation)] == [
        "response.created r2",
        "response.done r2 cancelled",
        "session.updated",
    ]


def test_cancelling_an_unknown_answer_is_an_error_event() -> None:
    conversation = converse_in_realtime(Clock(), 0)
    conversation.take_sent(b'{"type":"response.create"}')
    conversation.take_sent(b'{"type":"response.cancel","response_id":"r9"}')
    assert [said for _, said in hear(conversation)] == ["response.created r1", "response.done r1", "error"]


def test_events_before_a_cancelled_answer_are_still_delivered() -> None:
    conversation = converse_in_realtime(Clock(), 5)
    conversation.take_sent(b'{"type":"session.update","session":{}}')
    conversation.take_sent(b'{"type":"response.create"}')
    conversation.take_sent(b'{"type":"response.cancel"}')
    told = ["session.updated", "response.created r1", "response.done r1 cancelled"]
    assert [said for _, said in hear(conversation)] == told


@given(
    times=st.lists(st.integers(0, 50), min_size=1, max_size=6).map(sorted),
    asked=st.lists(st.tuples(st.sampled_from(["1", "2", "3"]), st.floats(0, 0.2)), max_size=8),
    is_still=st.booleans(),
)
def test_every_message_is_delivered_once_in_order_and_not_too_early(
    times: list[int], asked: list[tuple[str, float]], is_still: bool
) -> None:
    clock = Clock()
    conversation = converse(clock, *times)
    told: list[str] = []
    moments: dict[str, float] = {}
    for number, (lane, wait) in enumerate(asked):
        ask(conversation, f"{lane}:{number}:", lane)
        moments[str(number)] = clock.now
        clock.now += 0 if is_still else wait
    while given_now := conversation.deliverable():
        for pause, frame in given_now:
            clock.now += 0 if is_still else pause
            said = json.loads(frame.data)
            told.append(said)
            lane, number, place = said.split(":")
            if not is_still:
                assert clock.now >= moments[number] + times[int(place)] / 1000 - 0.002
    expected = [f"{lane}:{number}:{place}" for number, (lane, _) in enumerate(asked) for place in range(len(times))]
    assert sorted(told) == sorted(expected)
    for lane in ("1", "2", "3"):
        assert [each for each in told if each[0] == lane] == [each for each in expected if each[0] == lane]
