"""Cassettes of vcrpy are read as they are, and are ours from the first save on."""

from __future__ import annotations

import base64
import gzip
import json
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest
import yaml

from aquila.cassettes.codecs import codec_for
from aquila.cassettes.codecs import vcrpy as vcrpy_codec
from aquila.cassettes.model import Cassette, Interaction, RecordedChunk, RecordedRequest, RecordedResponse
from aquila.errors import CassetteCorrupt
from tests.support.traffic import names, path_of

YAML = codec_for(Path("a.yaml"))
MSGPACK = codec_for(Path("a.msgpack"))


def recorded(request: dict[str, Any] | None = None, response: dict[str, Any] | None = None, **top: Any) -> str:
    """A cassette as vcrpy writes it, with some fields changed; None leaves a field out."""
    asked = {"method": "POST", "uri": "https://api.example/v1", "headers": {"Accept": ["*/*"]}, "body": '{"a": 1}'}
    answered = {"status": {"code": 200, "message": "OK"}, "headers": {}, "body": {"string": "hello"}}
    interaction = {
        "request": {name: value for name, value in (asked | (request or {})).items() if value is not None},
        "response": {name: value for name, value in (answered | (response or {})).items() if value is not None},
    }
    return yaml.safe_dump({"interactions": [interaction], "version": 1} | top, width=60)


def load(text: str) -> Interaction:
    (interaction,) = YAML.loads(text.encode(), source="old.yaml").interactions
    return interaction


def test_a_plain_recording() -> None:
    assert load(recorded()) == Interaction(
        RecordedRequest("POST", "https://api.example/v1", (("accept", "*/*"),), b'{"a": 1}'),
        RecordedResponse(200, (), (RecordedChunk(b"hello", 0),)),
    )


@pytest.mark.parametrize("data", ["hello", "naïve\r\n", "", b"\x00\xff\xfe"])
def test_bodies_of_text_and_of_bytes(data: str | bytes) -> None:
    raw = data.encode() if isinstance(data, str) else data
    found = load(recorded({"body": data}, {"body": {"string": data}}))
    assert found.request.body == found.response.body == raw
    assert len(found.response.chunks) == bool(raw)


@pytest.mark.parametrize(
    ("response", "body"),
    [
        ({"body": None}, b""),
        ({"body": {"string": None}}, b""),
        ({"body": {"base64_string": base64.encodebytes(b"\x00" * 99).decode()}}, b"\x00" * 99),
        ({"body": None, "parsed_body": {"a": [1, 2.5, None], "b": "é"}}, '{"a":[1,2.5,null],"b":"é"}'.encode()),
        ({"body": None, "content": "old"}, b"old"),
        ({"status": None, "status_code": 200}, b"hello"),
        ({"url": "https://api.example/v1", "protocol": "HTTP/1.1"}, b"hello"),
    ],
)
def test_the_forms_that_versions_and_serialisers_use(response: dict[str, Any], body: bytes) -> None:
    assert load(recorded({"body": None}, response)).response.body == body


def test_a_parsed_body_keeps_its_numbers_and_the_order_of_its_keys() -> None:
    text = recorded({"body": None}).replace(
        "    headers:\n      Accept", "    parsed_body: {z: 1e-05, a: 0.10}\n    headers:\n      Accept", 1
    )
    assert load(text).request.body == b'{"z":1e-05,"a":0.10}'


BOMB = "a: &a0 [x, x]\n" + "".join(f"k{at}: &a{at + 1} [*a{at}, *a{at}]\n" for at in range(50))

PLAIN = b'{"text": "' + b"word " * 50 + b'"}'
PACKED = {
    "gzip": gzip.compress(PLAIN, mtime=0),
    "x-gzip": gzip.compress(PLAIN, mtime=0),
    "deflate": zlib.compress(PLAIN),
    "DEFLATE": zlib.compress(PLAIN, wbits=-15),
}


@pytest.mark.parametrize("encoding", PACKED)
@pytest.mark.parametrize("unpacked", [False, True])
def test_compressed_bodies_are_unpacked_once(encoding: str, unpacked: bool) -> None:
    headers = {"Content-Encoding": [encoding], "Content-Length": ["9"], "content-type": ["application/json"]}
    body = {"string": PLAIN.decode() if unpacked else PACKED[encoding]}
    response = load(recorded(None, {"headers": headers, "body": body})).response
    assert response.body == PLAIN
    assert response.headers == (("content-type", "application/json"),)


@pytest.mark.parametrize("packed", [True, False])
def test_brotli_bodies_too(packed: bool) -> None:
    brotli = pytest.importorskip("brotli")
    headers = {"Content-Encoding": "br"}
    body = {"string": brotli.compress(PLAIN) if packed else PLAIN.decode()}
    assert load(recorded(None, {"headers": headers, "body": body})).response.body == PLAIN


def test_a_missing_decompressor_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "brotli", None)
    text = recorded(None, {"headers": {"content-encoding": ["br"]}, "body": {"string": b"\x8b\xff\x80"}})
    with pytest.raises(CassetteCorrupt, match=r"old.yaml, line \d+: a body in the encoding br.*pip install brotli"):
        load(text)


def test_a_body_that_unpacks_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vcrpy_codec, "MAX_BODY", 1000)
    text = recorded(None, {"headers": {"content-encoding": ["gzip"]}, "body": {"string": gzip.compress(b"0" * 1001)}})
    with pytest.raises(CassetteCorrupt, match="more than 1000 bytes"):
        load(text)


def test_only_the_headers_of_a_recording_of_ours_are_kept() -> None:
    headers = {
        "Authorization": ["Bearer secret"],
        "Content-Type": ["text/plain"],
        "Set-Cookie": ["a", "b"],
        "X-Request-Id": "7",
    }
    found = load(recorded({"headers": headers}, {"headers": headers}))
    assert found.request.headers == (("content-type", "text/plain"),)
    assert found.response.headers == (("content-type", "text/plain"), ("x-request-id", "7"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (recorded({"method": None}), "'method' must be text"),
        (recorded({"uri": None}), "'uri' must be text"),
        (recorded(None, {"status": {"message": "OK"}}), "'status' must have a code"),
        (recorded(None, {"status": None}), "'status' must have a code"),
        (recorded({"body": ["a"]}), "'body' must be text or binary"),
        (recorded({"headers": ["a"]}), "'headers' must be a mapping"),
        (recorded({"headers": {"Accept": [{}]}}), "a header must be text"),
        (recorded(None, {"body": {"base64_string": "?"}}), "not base64"),
        (recorded({"body": None, "parsed_body": {"a": b"\x00"}}), "no form for binary data"),
        (recorded(version=2), "of a version that is not known"),
        (recorded(interactions={}), "'interactions' must be a list"),
        (recorded(interactions=[1]), "'request' must be a mapping"),
        (recorded(interactions=[{"request": {}}]), "'response' must be a mapping"),
        (recorded().replace("'{\"a\": 1}'", "!!python/object:a.B {}"), "python/object"),
        (recorded().replace("status:", "status: &id001 *id001 #", 1), "not YAML"),
        (recorded().replace("uri: https", "uri: *id001 # https", 1), "alias \\*id001 of nothing"),
        (recorded().replace("status:", "more: &a [*a]\n    status:", 1), "alias \\*a inside of itself"),
        (recorded(more=0).replace("more: 0", BOMB), "aliases that stand for more than the file could"),
    ],
)
def test_a_mistake_is_told_with_its_line(text: str, message: str) -> None:
    with pytest.raises(CassetteCorrupt, match=rf"old.yaml, line \d+: .*{message}"):
        load(text)


def test_headers_that_were_recorded_twice_may_be_aliases() -> None:
    headers = {"Content-Type": ["text/plain"]}
    text = recorded({"headers": headers}, {"headers": headers})
    assert "*id001" in text
    found = load(text)
    assert found.request.headers == found.response.headers == (("content-type", "text/plain"),)


def test_what_vcrpy_itself_records_is_read(tmp_path: Path) -> None:
    script = """
import sys
from vcr.serialize import serialize
from vcr.serializers import yamlserializer
from vcr.request import Request
bodies = ('{"a": 1}', b"\\x00\\xff", None)
requests = [Request("POST", "https://api.example/v1?a=1", body, {"Accept": "*/*"}) for body in bodies]
responses = [
    {"status": {"code": 201, "message": "Created"}, "headers": {"Content-Type": ["a/b"]}, "body": {"string": body}}
    for body in (b"line one\\nline two  \\n", b"\\xff\\x00" * 50, ("long " * 100).encode())
]
sys.stdout.write(serialize({"requests": requests, "responses": responses}, yamlserializer))
"""
    pytest.importorskip("vcr")
    text = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True).stdout
    found = YAML.loads(text.encode(), source="vcrpy.yaml").interactions
    assert [each.request.body for each in found] == [b'{"a": 1}', b"\x00\xff", b""]
    assert [each.response.body for each in found] == [b"line one\nline two  \n", b"\xff\x00" * 50, b"long " * 100]
    assert {each.request.url for each in found} == {"https://api.example/v1?a=1"}


@pytest.mark.parametrize("name", names())
def test_real_cassettes_are_read_without_loss_and_become_ours(name: str) -> None:
    data = path_of(name).read_bytes()
    cassette = YAML.loads(data, source=name)
    written = YAML.dumps(cassette)
    assert written.startswith(b"aquila: 1\n")
    assert YAML.loads(written, source=name) == cassette == MSGPACK.loads(MSGPACK.dumps(cassette), source=name)
    assert YAML.dumps(YAML.loads(written, source=name)) == written
    expected = yaml.load(data, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))["interactions"]
    assert len(expected) == len(cassette.interactions)
    for raw, found in zip(expected, cassette.interactions, strict=True):
        assert (raw["request"]["method"], raw["request"]["uri"]) == (found.request.method, found.request.url)
        assert raw["response"]["status"]["code"] == found.response.status
        for message, body in ((raw["request"], found.request.body), (raw["response"], found.response.body)):
            if "parsed_body" in message:
                assert json.loads(body) == message["parsed_body"]
            else:
                text = message["body"]["string"] if isinstance(message["body"], dict) else message["body"]
                assert body == (text if isinstance(text, bytes) else text.encode())


def test_an_empty_cassette_of_vcrpy() -> None:
    assert YAML.loads(b"interactions: []\nversion: 1\n", source="old.yaml") == Cassette()
