"""Damaged files: an error that says so, or a cassette that is one. Nothing else, and always soon."""

from __future__ import annotations

import functools
import gc
import random
import zlib
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aquila.cassettes.codecs import codec_for
from aquila.cassettes.model import (
    Cassette,
    End,
    Interaction,
    InteractionKind,
    RecordedChunk,
    RecordedRequest,
    RecordedResponse,
)
from aquila.cassettes.web_socket_frames.frame import Close
from aquila.errors import CassetteCorrupt
from tests.cassettes.codecs.test_format import with_compact_requests
from tests.cassettes.web_socket_frames.conversations import received, sent, store
from tests.support.cassettes import cut
from tests.support.examples import examples
from tests.support.mutations import mutate
from tests.support.traffic import recorded_files

CHANGES = 2000  # `make fuzz` tries more
HEADERS = (("content-type", "application/json"),)

YAML = codec_for(Path("a.yaml"))
MSGPACK = codec_for(Path("a.msgpack"))
MSGPACK_HEAD = b"\x94\xa6aquila\x01\xce"

CHAT = "".join(
    f'data: {{"id":"chatcmpl-012345","n":{number},"choices":[{{"delta":{{"content":"{word}"}}}}],"x":"{word * 2}"}}\n\n'
    for number, word in enumerate(["The", " «sky»", " is", " blue", "\\n", " – no,", " grey"])
)
AGAIN = '"the whole text, again"'
RESPONSES = "".join(
    f'event: {kind}\ndata: {{"type":"{kind}","item":{{"id":"item_0123456789abcdef","text":{text}}}{" " * pad}}}\n\n'
    for kind, text, pad in [("a", '"x"', 0), ("b", AGAIN, 3), ("b", AGAIN, 0)]
)


def made() -> Cassette:
    """A cassette with one of everything that the formats know."""
    request = RecordedRequest(
        "POST", "https://api.example/v1/chat", HEADERS, b'{"model":"m","messages":[{"content":"a\\nb"}]}'
    )
    bodies = [
        b"",
        b'{"id":"x","n":[1,2.50,-1e-05],"e":[],"d":{},"w":[true,null]}',
        b'{\n  "text": "caf\\u00e9 \xc3\xa9",\n  "half": "\\ud800"\n}\n',
        b"--b\r\nContent-Type: text/plain\r\n\r\n two lines\r\n--b--\r\n",
        b"\x00\xff\xfe binary",
        b'"\xe2\x80\xa8"',
        CHAT.encode(),
        CHAT.replace("\n", "\r\n").encode(),
        (": keep-alive\n\n" * 4 + RESPONSES + "data: [DONE]\n\ndata: {").encode(),
    ]
    over_http = [
        Interaction(
            request,
            RecordedResponse(
                200 + number,
                (*HEADERS, ("set", "1"), ("set", "2")) if number == 2 else HEADERS,
                cut(body, [len(body) // 3, len(body) // 2], [10, 20, 300]) if number % 2 else (RecordedChunk(body, 7),),
                ("complete", "closed", "broken")[number % 3],  # type: ignore[arg-type]
                "ReadError: cut\noff" if number % 3 == 2 else "",
                5,
                400,
            ),
            "2026-11-24T10:00:00Z" if number else "",
            "live" if number else "",
            "gpt-4o-mini" if number else "",
        )
        for number, body in enumerate(bodies)
    ]
    return Cassette.from_interactions([*over_http, talk()])


def talk() -> Interaction:
    """A conversation over a WebSocket with one of every kind of message."""
    said = [
        *[received({"type": "delta", "delta": word}) for word in ("Blue", " by", " day", "\n", "«x»")],
        *[sent({"type": "create", "n": [1, 2.5, None]}), sent(b"plain\nlines"), sent(b"\0", is_text=False)],
        *[sent({"a": 1}, is_text=False), received({"b": {}}, is_text=False), received(b"\xff", is_text=False)],
        *[received(b"a\tb"), received({"type": "delta", "delta": "again"}), Close("provider", 1011, "why\nnot")],
    ]
    response = RecordedResponse(101, HEADERS, tuple(store(*said)), started=3, ended=9)
    return Interaction(RecordedRequest("GET", "wss://api.example/live"), response, kind="websocket")


FOREIGN = b"""\
interactions:
- request:
    body: '{"a": 1}'
    headers:
      Accept: [application/json]
    method: POST
    uri: https://api.example/
  response:
    body:
      string: !!binary |
        H4sIAAAAAAAAA6tWKkktLlGyUlBQUqoFAKb8FhENAAAA
    headers:
      Content-Encoding:
      - gzip
    status: {code: 200, message: OK}
version: 1
"""


@functools.cache
def seeds(suffix: str) -> tuple[bytes, ...]:
    """Valid files, small enough that a change is likely to hit something."""
    whole = made()
    parts = [Cassette((interaction,)) for interaction in whole.interactions]
    if suffix == ".msgpack":
        return tuple(MSGPACK.dumps(cassette) for cassette in (whole, *parts))
    recorded = [path.read_bytes() for path in recorded_files() if path.stat().st_size < 7000]
    return (*[YAML.dumps(cassette) for cassette in (whole, *parts)], FOREIGN, *recorded[:6])


def check_types(cassette: Cassette) -> None:
    """Every field of a cassette is what the model says."""
    assert type(cassette.interactions) is tuple
    for interaction in cassette.interactions:
        request, response = interaction.request, interaction.response
        assert type(request) is RecordedRequest
        assert type(response) is RecordedResponse
        for text in (request.method, request.url, interaction.recorded, interaction.model, response.error):
            assert type(text) is str
            text.encode()
        for headers in (request.headers, response.headers):
            assert type(headers) is tuple
            assert all(type(part) is str for pair in headers for part in pair)
        assert interaction.kind in get_args(InteractionKind)
        assert type(request.body) is bytes
        assert type(response.status) is int
        assert response.end in get_args(End)
        assert all(type(at) is int and at >= 0 for at in (response.started, response.ended))
        assert type(response.chunks) is tuple
        assert all(type(chunk.data) is bytes and type(chunk.at) is int and chunk.at >= 0 for chunk in response.chunks)


@pytest.mark.parametrize("kind", [".yaml", ".msgpack", "msgpack with the right checksum"])
def test_a_damaged_file_is_refused_or_read_as_a_cassette(kind: str) -> None:
    codec = YAML if kind == ".yaml" else MSGPACK
    rng = random.Random(kind)
    read = 0
    for number in range(CHANGES):
        if kind in (".yaml", ".msgpack"):
            data = mutate(seeds(kind), rng)
        else:  # not all that has it was written by Aquila
            payload = mutate([seed[14:] for seed in seeds(".msgpack")], rng)
            data = MSGPACK_HEAD + zlib.crc32(payload).to_bytes(4) + payload
        try:
            cassette = codec.loads(data, source="damaged")
        except CassetteCorrupt:
            continue
        read += 1
        check_types(cassette)
        if number % 10 == 0:
            again = codec.loads(codec.dumps(cassette), source="again")
            assert again == (cassette if codec is MSGPACK else with_compact_requests(cassette))
    assert gc.isenabled()
    assert read < CHANGES
    assert read or kind == ".msgpack"  # whose checksum notices any damage


@settings(max_examples=examples(1000), deadline=None)
@given(st.data())
def test_a_flipped_bit_in_a_msgpack_cassette_or_a_missing_end_is_always_noticed(data: st.DataObject) -> None:
    damaged = bytearray(data.draw(st.sampled_from(seeds(".msgpack"))))
    at = data.draw(st.integers(0, 8 * len(damaged) - 1))
    if data.draw(st.booleans()):
        damaged[at // 8] ^= 1 << at % 8
    else:
        del damaged[at // 8 :]
    with pytest.raises(CassetteCorrupt):
        MSGPACK.loads(bytes(damaged), source="damaged")


@pytest.mark.parametrize("suffix", [".yaml", ".msgpack"])
def test_the_files_that_damage_starts_from_are_whole(suffix: str) -> None:
    codec = codec_for(Path("a" + suffix))
    assert all(codec.loads(data, source="seed").interactions for data in seeds(suffix))
    assert codec.loads(seeds(suffix)[0], source="seed") == made()
