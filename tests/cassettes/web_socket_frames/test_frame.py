"""A conversation is stored as an event stream, and is read as it was."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aquila.cassettes.model import RecordedChunk
from aquila.cassettes.web_socket_frames.frame import (
    Close,
    Frame,
    NotAFrame,
    is_stored_readable,
    read_frames,
    store_close,
    store_frame,
)
from tests.support.examples import examples

texts = st.text(st.characters(exclude_categories=["Cs"])).map(str.encode)
json_texts = st.sampled_from([b"{}", b'{"a":1}', b'{"a":"\xc3\xa9"}', b'{"a":"\xff"}', b"[\n]", b"[\r\n]"])
frames = st.builds(Frame, texts | st.sampled_from([b"", b"\n", b"\r\n", b" a\n\nb", b"event: x"]), st.booleans()) | (
    st.builds(Frame, st.binary() | json_texts, st.booleans(), st.just(False), st.integers(0, 10**6))
)


@given(st.lists(frames))
@settings(max_examples=examples(100))
def test_frames_come_back_as_they_were(sent: list[Frame]) -> None:
    assert list(read_frames(map(store_frame, sent))) == sent


@given(st.builds(Close, st.sampled_from(["client", "provider"]), st.integers(1000, 4999), st.text()))
@settings(max_examples=examples(50))
def test_the_end_of_a_conversation_comes_back_as_it_was(close: Close) -> None:
    assert list(read_frames([store_close(close)])) == [close]


def test_a_frame_that_may_hold_a_key_does_not_show_it() -> None:
    assert "sk-" not in repr(Frame(b"sk-1234567890", sent=True))


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"\n\n", b"data: x\n", b"event: sent\n\n", b"event: other\ndata: x\n\n", b"event: sent-x\ndata: x\n\n"),
        *(
            b"event: sent-binary\ndata: !\n\n",
            b"event: close\ndata: {}\n\n",
            b"event: close\ndata: 1\n\n",
            b"event: close\ndata: " + b"[" * 100_000 + b"\n\n",
            b"id: 1\n\n",
        ),
        b'event: close\ndata: {"by":"x","code":1,"reason":""}\n\n',
    ],
)
def test_other_bytes_are_no_frame(data: bytes) -> None:
    with pytest.raises(NotAFrame):
        list(read_frames([RecordedChunk(data)]))


def test_json_can_be_read_where_it_is_stored_though_it_was_sent_as_bytes() -> None:
    frame = Frame(b'{"serverContent":{}}', sent=False, is_text=False)
    assert store_frame(frame).data == b'event: received-binary-text\ndata: {"serverContent":{}}\n\n'
    assert is_stored_readable(frame)
    assert not is_stored_readable(Frame(b"\0", sent=True, is_text=False))
    assert not is_stored_readable(Frame(b"{\r\n}", sent=True))
