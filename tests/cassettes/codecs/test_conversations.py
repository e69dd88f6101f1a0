"""A conversation comes back from each format as it was."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aquila.cassettes.codecs import Codec
from aquila.cassettes.codecs.msgpack import MsgpackCodec
from aquila.cassettes.codecs.yaml.codec import YamlCodec
from aquila.cassettes.frames.frame import Close, Frame, store_close, store_frame
from aquila.cassettes.model import (
    Cassette,
    End,
    Interaction,
    RecordedChunk,
    RecordedRequest,
    RecordedResponse,
)
from tests.support.examples import examples

CODECS = [YamlCodec(), MsgpackCodec(), MsgpackCodec(tables=False)]
URL = "wss://api.openai.com/v1/realtime?model=gpt-realtime"


def conversation_of(*chunks: RecordedChunk, end: End = "complete", status: int = 101) -> Interaction:
    response = RecordedResponse(status, (("sec-websocket-protocol", "realtime"),), chunks, end, started=5, ended=99)
    return Interaction(RecordedRequest("GET", URL), response, kind="websocket")


def written_and_read(interaction: Interaction, codec: Codec) -> Interaction:
    data = codec.dumps(Cassette((interaction,)))
    (again,) = codec.loads(data, source="x").interactions
    assert codec.dumps(Cassette((again,))) == data
    return again


json_texts = st.sampled_from(
    [
        *(b"{}", b"[]", b'{"type":"response.create","n":1}', b'{"type": "session.update", "text": "a\\tb"}'),
        *(b'{"type":"delta","delta":"Hel"}', b'{"type":"delta","delta":"lo"}', b'{"type":"delta","delta":"\xc3\xa9"}'),
        *(b'{"a":1,"a":2}', b'{"a" : 1}', b'{\n  "a": 1\n}', b"1", b'"text"', b"null", b'{"a":"\\ud83d"}'),
    ]
)
texts = json_texts | st.text(st.characters(exclude_categories=["Cs"])).map(str.encode)
frames = st.builds(Frame, texts, st.booleans(), st.just(True), st.integers(0, 10**6)) | st.builds(
    Frame, st.binary(), st.booleans(), st.just(False), st.integers(0, 10**6)
)
closes = st.builds(
    Close, st.sampled_from(["client", "provider"]), st.integers(1000, 4999), st.text(), st.integers(0, 9)
)


@pytest.mark.parametrize("codec", CODECS, ids=["yaml", "msgpack", "journal"])
@given(st.lists(frames, max_size=12), st.none() | closes, st.sampled_from(["complete", "closed", "broken", "silent"]))
@settings(max_examples=examples(100), deadline=None)
def test_a_conversation_comes_back_as_it_was(codec: Codec, said: list[Frame], close: Close | None, end: End) -> None:
    chunks = [*map(store_frame, said), *([store_close(close)] if close else [])]
    interaction = conversation_of(*chunks, end=end)
    assert written_and_read(interaction, codec) == interaction


@pytest.mark.parametrize("codec", CODECS)
def test_so_does_one_that_was_refused(codec: Codec) -> None:
    response = RecordedResponse(401, (), (RecordedChunk(b'{"error":"no key"}', 12),), ended=12)
    interaction = Interaction(RecordedRequest("GET", URL), response, kind="websocket")
    assert written_and_read(interaction, codec) == interaction


@given(st.lists(st.builds(RecordedChunk, st.binary(), st.integers(0, 9)), max_size=4))
@settings(max_examples=examples(50), deadline=None)
def test_so_do_chunks_that_are_no_frames(chunks: list[RecordedChunk]) -> None:
    interaction = conversation_of(*chunks)
    assert written_and_read(interaction, CODECS[0]) == interaction
