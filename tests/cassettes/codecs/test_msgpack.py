"""Msgpack cassettes: the same model, and strict about it."""

from __future__ import annotations

import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import msgpack
import pytest

from aquila.cassettes.codecs import codec_for
from aquila.cassettes.codecs.msgpack import MsgpackCodec
from aquila.cassettes.model import Cassette, Interaction, RecordedChunk, RecordedRequest, RecordedResponse
from aquila.errors import CassetteCorrupt, CassetteTooNew

MSGPACK = codec_for(Path("a.msgpack"))

STREAM = b"".join(b'data: {"id":"chatcmpl-0123456789","delta":{"content":"word %d"}}\n\n' % at for at in range(50))
CHUNKS = tuple(RecordedChunk(event + b"\n\n", 40 * at) for at, event in enumerate(STREAM.split(b"\n\n")[:-1]))


def row(**changes: Any) -> list[Any]:
    """An interaction as the format has it."""
    fields: dict[str, Any] = {
        "kind": "http",
        "method": "GET", "url": "https://a.example/", "asked": ["accept", "*/*"], "body": b"", "recorded": "",
        "upstream": "live", "model": "m",
        "status": 200, "answered": [], "started": 1, "ended": 2, "end": 0, "error": "", "chunks": [5, b"x"],
    }  # fmt: skip
    return list((fields | changes).values())


def file(*rows: Any, version: Any = 1) -> bytes:
    packed: bytes = msgpack.packb(list(rows))
    return with_checksum(packed, version)


def with_checksum(packed: bytes, version: Any = 1) -> bytes:
    head: bytes = b"\x94" + msgpack.packb("aquila") + msgpack.packb(version) + b"\xce"
    return head + zlib.crc32(packed).to_bytes(4) + packed


def load(data: bytes) -> Cassette:
    return MSGPACK.loads(data, source="demo.msgpack")


def test_a_row_means_what_it_says() -> None:
    request = RecordedRequest("GET", "https://a.example/", (("accept", "*/*"),))
    assert load(file(row())) == Cassette(
        (
            Interaction(
                request, RecordedResponse(200, (), (RecordedChunk(b"x", 5),), started=1, ended=2), "", "live", "m"
            ),
        )
    )


def test_streams_are_tables_and_may_be_left_as_they_came() -> None:
    cassette = Cassette((Interaction(RecordedRequest("GET", "https://a.example/"), RecordedResponse(200, (), CHUNKS)),))
    plain = MsgpackCodec(tables=False)
    assert len(MSGPACK.dumps(cassette)) * 3 < len(plain.dumps(cassette))
    assert load(MSGPACK.dumps(cassette)) == load(plain.dumps(cassette)) == cassette


@pytest.mark.parametrize(
    "changes",
    [
        {"method": b"GET"},
        {"method": None},
        {"url": 1},
        {"url": "http://[a.example/"},
        {"asked": ["a"]},
        {"asked": ["a", b"b"]},
        {"asked": {}},
        {"body": "text"},
        {"body": None},
        {"status": "200"},
        {"status": True},
        {"status": 200.0},
        {"status": -1},
        {"status": 99},
        {"status": 600},
        {"kind": 1},
        {"upstream": None},
        {"model": b"m"},
        {"started": -1},
        {"ended": -1},
        {"end": 4},
        {"status": 0},
        {"status": 0, "end": 1},
        {"end": -1},
        {"end": True},
        {"error": None},
        {"chunks": None},
        {"chunks": [5]},
        {"chunks": [b"x", 5]},
        {"chunks": [-5, b"x"]},
        {"chunks": [True, b"x"]},
        {"chunks": [5, "x"]},
        {"chunks": [5, b"x", -6, b"y"]},
        {"chunks": {}},
        {"chunks": {"events": "a\n", "layouts": {"a": "x"}, "crlf": 0, "chunks": "5"}},
        {"chunks": {"events": "a\n", "layouts": {"a": b"x"}, "crlf": False, "chunks": "5"}},
        {"chunks": {"events": "b\n", "layouts": {"a": "x"}, "crlf": False, "chunks": "5"}},
        {"chunks": {"events": "a\n", "layouts": {"a": "x"}, "crlf": False, "chunks": "5 6"}},
        {"chunks": {"events": "a\n", "layouts": {"a": "x"}, "crlf": False, "chunks": "5", "more": 1}},
        {"more": 0},
        {"more": -1},
        {"more": True},
        {"more": "1"},
        {"more": 1, "still more": 1},
        {"more": "1", "still more": True},
        {"more": -1, "still more": True},
    ],
)
def test_a_field_of_another_kind_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(CassetteCorrupt, match=r"demo.msgpack: not a cassette in msgpack form: .*record again:"):
        load(file(row(**changes)))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00",
        b"aquila: 1\n",
        b"\xc1",
        file(row())[:-1],
        file(row()) + b"\x00",
        file(5),
        file([]),
        file(version=0),
        file(version="1"),
        file(version=True),
        msgpack.packb(["aquila", 1]),
        msgpack.packb(["aquila", 1, {}]),
        msgpack.packb(["aquila", 1, [], 1]),
        msgpack.packb(["cassette", 1, []]),
        msgpack.packb({"aquila": 1}),
        msgpack.packb(["aquila"]),
        msgpack.packb(["aquila", 1, 5, []]),
        with_checksum(msgpack.packb([{1: 2}])),
        with_checksum(msgpack.packb([msgpack.Timestamp(1)])),
        with_checksum(msgpack.packb([msgpack.ExtType(5, b"x")])),
        with_checksum(msgpack.packb({})),
        with_checksum(b""),
        b"\x93\xa6aquila\x01\xdd\xff\xff\xff\xff",
        b"\x93\xa6aquila\x01\xc6\xff\xff\xff\xff",
        b"\x93\xa6aquila\x01\xa2\xff\xfe",
        b"\x91" * 100_000,
        b"\x81\xa0" * 100_000,
    ],
)
def test_a_file_that_is_no_cassette_is_refused_in_bounded_memory(data: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(CassetteCorrupt, match=r"demo.msgpack: not a cassette"):
            load(data)
        assert tracemalloc.get_traced_memory()[1] < 20 * len(data) + 1_000_000
    finally:
        tracemalloc.stop()


def test_an_interaction_of_a_later_version_says_how_to_upgrade() -> None:
    said = r"written by a newer Aquila \(an interaction of the kind 'carrier pigeon'\).*pip install --upgrade"
    with pytest.raises(CassetteTooNew, match=said):
        load(file(row(kind="carrier pigeon")))


def test_a_newer_format_says_how_to_upgrade() -> None:
    with pytest.raises(CassetteTooNew, match=r"written by a newer Aquila.*pip install --upgrade pytest-aquila"):
        load(msgpack.packb(["aquila", 2, "anything"]))


def test_a_load_takes_little_more_than_what_it_returns() -> None:
    fields = tuple((f"x-field-{number}", "a value") for number in range(10))  # in each row, and in memory once
    answer = RecordedResponse(200, fields, (RecordedChunk(b'{"text":"%s"}' % (b"word " * 100), 9),))
    data = MSGPACK.dumps(Cassette((Interaction(RecordedRequest("POST", "https://a.example/v1"), answer),) * 1000))
    tracemalloc.start()
    try:
        cassette = load(data)
        kept, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(cassette.interactions) == 1000
    assert most < 1.3 * kept
