"""Faults of conversations, as pure functions: a fault returns a changed conversation, or the reason why it cannot."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aquila.cassettes.model import Interaction, RecordedRequest, RecordedResponse
from aquila.cassettes.web_socket_frames.frame import Close, Frame, read_frames, store_close, store_frame
from aquila.faults.fault import Fault, ImpossibleFault, make_fault
from aquila.faults.parsing import read_faults
from aquila.faults.table import FAULTS

PATHS = [
    "/v1/responses",
    "/v1/realtime?model=m",
    "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent",
    "/v1/speak",
]
EVENTS = st.fixed_dictionaries(
    {"type": st.sampled_from(["response.created", "response.output_text.delta", "response.completed", "other"])},
    optional={"stream_id": st.sampled_from(["s1", "s2"]), "delta": st.text(max_size=5), "response": st.just({})},
)
DATA = EVENTS.map(lambda event: json.dumps(event).encode()) | st.binary(max_size=8)
FRAMES = st.builds(Frame, DATA, sent=st.booleans(), is_text=st.booleans(), at=st.integers(0, 50))
CLOSES = st.none() | st.builds(Close, st.sampled_from(["client", "provider"]), st.sampled_from([1000, 1011]))

MAY_CHANGE_NO_BYTES = ("slow", "stall", "reordered_events")
"""They change times; or two messages that are equal change places."""


def conversation(frames: list[Frame], close: Close | None, path: str) -> Interaction:
    chunks = [store_frame(frame) for frame in frames] + ([] if close is None else [store_close(close)])
    response = RecordedResponse(101, (), tuple(chunks), ended=60)
    return Interaction(RecordedRequest("GET", f"wss://api.openai.com{path}"), response)


@st.composite
def faults(draw: st.DrawFn) -> Fault:
    kind = FAULTS[draw(st.sampled_from(sorted(FAULTS)))]
    given: dict[str, Any] = {}
    for name in kind.parameters:
        if int in kind.types[name] and draw(st.booleans()):
            given[name] = draw(st.integers(-1, 6) | st.sampled_from([500, 1008, 1011]))
    return make_fault(kind, given)


@given(frames=st.lists(FRAMES, max_size=8), close=CLOSES, path=st.sampled_from(PATHS), fault=faults())
def test_a_fault_makes_a_conversation_or_says_why_not(
    frames: list[Frame], close: Close | None, path: str, fault: Fault
) -> None:
    good = conversation(frames, close, path)
    try:
        changed = fault.change(good)
    except ImpossibleFault:
        return
    assert fault.kind.within is not None
    if fault.kind.within == "handshake":
        assert changed.status != 101
        return
    assert changed.status == 101
    read = list(read_frames(changed.chunks))
    assert not any(isinstance(each, Close) for each in read[:-1])
    before = [each for each in frames if each.sent]
    sent = [each for each in read if isinstance(each, Frame) and each.sent]
    if fault.name != "error_event":  # behind it the client asks once more
        assert [each.data for each in sent] == [each.data for each in before][: len(sent)]
    assert changed.body != good.response.body or changed.end != "complete" or fault.name in MAY_CHANGE_NO_BYTES


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("cut_stream(after=9)", "the provider sends 1 message, so nothing is left after 9"),
        ("cut_stream(after=1, after_seconds=2)", "give one of after= and after_seconds="),
        ("cut_stream(after_bytes=1)", "a message comes as a whole: give after="),
        ("garbage(at=2)", "there is no message 2"),
        ("abnormal_close(code=1000)", "code=1000 does not close a WebSocket abnormally"),
        (f"abnormal_close(reason='{'ö' * 62}')", "a close has room for 123 bytes of reason="),
        ("refusal", "this fault does not apply to this protocol"),
        ("one_piece", "it does not apply to WebSockets"),
    ],
)
def test_impossible_faults_say_why(text: str, why: str) -> None:
    (fault,) = read_faults(text)
    with pytest.raises(ImpossibleFault, match=why):
        fault.change(conversation([Frame(b"{}", sent=False)], None, "/v1/realtime"))


def test_a_conversation_can_break_after_some_seconds() -> None:
    said = [Frame(b'{"n": %d}' % at, sent=at == 0, at=at) for at in (0, 100, 1_400, 1_600)]
    (fault,) = read_faults("cut_stream(after_seconds=1.5)")
    changed = fault.change(conversation(said, None, "/v1/realtime"))
    assert [each.at for each in read_frames(changed.chunks)] == [0, 100, 1_400]
    assert changed.end == "broken"


def test_abnormal_close_needs_a_web_socket() -> None:
    (fault,) = read_faults("abnormal_close")
    asked = RecordedRequest("POST", "https://api.openai.com/v1/responses")
    with pytest.raises(ImpossibleFault, match="only a WebSocket"):
        fault.change(Interaction(asked, RecordedResponse(200)))


@pytest.mark.parametrize(("path", "stream"), [("/v1/responses", "s1"), ("/v1/realtime", None)])
def test_an_error_event_comes_in_the_stream_of_its_question(path: str, stream: str | None) -> None:
    asked = Frame(b'{"type":"response.create","stream_id":"s1"}', sent=True)
    told = [Frame(b'{"type":"other","stream_id":"s1"}', sent=False)] * 2
    (fault,) = read_faults("error_event(after=1)")
    changed = list(read_frames(fault.change(conversation([asked, *told], None, path)).chunks))
    assert [each.sent for each in changed if isinstance(each, Frame)] == [True, False, False, True, False, False]
    error = changed[2]
    assert isinstance(error, Frame)
    event = json.loads(error.data)
    assert (event["type"], event.get("stream_id")) == ("error", stream)
