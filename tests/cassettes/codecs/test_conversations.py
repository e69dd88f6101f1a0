"""A conversation comes back from each format as it was."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aquila.cassettes.codecs import Codec
from aquila.cassettes.codecs.msgpack import MsgpackCodec
from aquila.cassettes.codecs.yaml.codec import YamlCodec
from aquila.cassettes.model import (
    Cassette,
    End,
    Interaction,
    RecordedChunk,
    RecordedRequest,
    RecordedResponse,
)
from aquila.cassettes.web_socket_frames.frame import Close, Frame, read_frames, store_close, store_frame
from aquila.errors import CassetteCorrupt
from tests.cassettes.web_socket_frames.conversations import received, sent, store
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
    Frame, st.binary() | json_texts, st.booleans(), st.just(False), st.integers(0, 10**6)
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
def test_a_conversation_that_was_refused_comes_back_as_it_was(codec: Codec) -> None:
    response = RecordedResponse(401, (), (RecordedChunk(b'{"error":"no key"}', 12),), ended=12)
    interaction = Interaction(RecordedRequest("GET", URL), response, kind="websocket")
    assert written_and_read(interaction, codec) == interaction


@given(st.lists(st.builds(RecordedChunk, st.binary(), st.integers(0, 9)), max_size=4))
@settings(max_examples=examples(50), deadline=None)
def test_chunks_that_are_no_frames_come_back_as_they_were(chunks: list[RecordedChunk]) -> None:
    interaction = conversation_of(*chunks)
    assert written_and_read(interaction, CODECS[0]) == interaction


def file_of(response: str) -> bytes:
    lines = "".join([f"    {line}\n" for line in response.splitlines()])
    head = f"aquila: 1\ninteractions:\n- kind: websocket\n  request:\n    method: GET\n    url: {URL}\n"
    return f"{head}  recorded: {{chunks: 1 2}}\n  response:\n{lines}...\n".encode()


BY_HAND = """\
status: 101
layouts:
  a: '{"type":"delta","delta":«delta»}'
frames:
- '>':
    type: response.create
    count: 3
- '>': stop
- '<':
    type: response.done
- text: This is not read
  '<': |
    a	"Hel"
    a	"lo"
- '< text': "a\\tb"
- '> binary text':
    setup: {}
- '< binary text': |
    =	{"setupComplete":{}}
- close: {by: provider, code: 1011, reason: overloaded}
"""


def test_a_conversation_can_be_written_by_hand() -> None:
    data = file_of(BY_HAND).replace(b"  recorded: {chunks: 1 2}\n", b"")
    (interaction,) = CODECS[0].loads(data, source="x").interactions
    assert list(read_frames(interaction.response.chunks)) == [
        Frame(b'{"type":"response.create","count":3}', sent=True),
        Frame(b"stop", sent=True),
        Frame(b'{"type":"response.done"}', sent=False),
        Frame(b'{"type":"delta","delta":"Hel"}', sent=False),
        Frame(b'{"type":"delta","delta":"lo"}', sent=False),
        Frame(b"a\tb", sent=False),
        Frame(b'{"setup":{}}', sent=True, is_text=False),
        Frame(b'{"setupComplete":{}}', sent=False, is_text=False),
        Close("provider", 1011, "overloaded"),
    ]


@pytest.mark.parametrize(
    ("response", "line", "what"),
    [
        ("status: 101\nframes: x", 10, "'frames' must be a list"),
        ("status: 101\nframes:\n- x: 1", 11, "unknown key 'x'"),
        (
            "status: 101\nframes:\n- text: x",
            11,
            "an item of 'frames' must have one of >, > binary, > binary text, > sound, <",
        ),
        (
            "status: 101\nframes:\n- '>': x\n  '<': y",
            11,
            "an item of 'frames' must have one of >, > binary, > binary text, > sound, <",
        ),
        ("status: 101\nframes:\n- '<': |\n    =\t1\n    a\t1", 13, "no layout 'a'"),
        ("status: 101\nframes:\n- '<': |\n    ~\t1", 12, "a frame always has its end"),
        ("status: 101\nlayouts:\n  a-b: x\nframes: []", 11, "not the name of a layout"),
        ("status: 101\njson_style: bold\nframes: []", 10, "no style of JSON"),
        ("status: 101\nframes:\n- '> binary': '!'", 11, "not base64"),
        ("status: 101\nframes:\n- close: x", 11, "'close' must be a mapping"),
        ("status: 101\nframes:\n- close: {by: me, code: 1}", 11, "'by' must be client or provider, not 'me'"),
        ("status: 101\nframes:\n- close: {by: client}", 11, "'code' is missing"),
        ("status: 101\nframes:\n- '>': a", 7, "there are 1 frames, and 'chunks' has 2 times; it may be left out"),
        ("status: 101\nframes: []\nbody: x", 11, "'body' does not go with 'frames'"),
    ],
)
def test_a_mistake_is_named_with_its_line(response: str, line: int, what: str) -> None:
    with pytest.raises(CassetteCorrupt, match=rf"x, line {line}: {re.escape(what)}"):
        CODECS[0].loads(file_of(response), source="x")


def test_times_must_be_numbers() -> None:
    data = file_of("status: 101\nframes: []").replace(b"chunks: 1 2", b"chunks: 1x2")
    with pytest.raises(CassetteCorrupt, match="must be a time for each frame"):
        CODECS[0].loads(data, source="x")


def test_each_turn_shows_what_it_says_and_its_deltas_are_folded() -> None:
    turns = [
        [sent({"type": "response.create"}), *[received(delta(word)) for word in ("Hel", "lo", "!")]],
        [sent({"type": "response.create"}), *[received(delta(word)) for word in ("Good", "bye", ".")]],
    ]
    text = CODECS[0].dumps(Cassette((conversation_of(*store(*[frame for turn in turns for frame in turn])),))).decode()
    assert text.count("- text: Hello!\n") == 1
    assert text.count("- text: Goodbye.\n") == 1
    assert '        a\t"Hel"\n        a\t"lo"\n' in text
    assert text.count("response.output_text.delta") == 1


def delta(text: str) -> dict[str, str]:
    return {"type": "response.output_text.delta", "item_id": "item_1", "delta": text}


def test_json_that_is_sent_as_bytes_is_folded_too() -> None:
    pieces = [
        {"serverContent": {"modelTurn": {"parts": [{"text": word}]}}}
        for word in ("Blue", " by", " day", " and", " so on")
    ]
    text = CODECS[0].dumps(Cassette((conversation_of(*store(*[received(one, is_text=False) for one in pieces])),)))
    assert b"    - text: Blue by day and so on\n      '< binary text': |\n        a\t\"Blue\"\n" in text
