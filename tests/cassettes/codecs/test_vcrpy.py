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
from hypothesis import given
from hypothesis import strategies as st

from aquila.cassettes.codecs import codec_for
from aquila.cassettes.codecs import vcrpy as vcrpy_codec
from aquila.cassettes.model import Cassette, Interaction, RecordedChunk, RecordedRequest, RecordedResponse
from aquila.errors import CassetteCorrupt
from tests.support.slow import slow_but_each
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


@pytest.mark.parametrize("key", ["parsed_body", "body"])
def test_a_body_that_is_a_value_is_understood_as_vcrpy_understands_it(key: str) -> None:
    value = (
        "{z: 1.0e-05, a: 0.10, id: 12e4567, small: 1e-05, on: yes, hex: 0x1F, octal: 010, day: 2024-01-01, "
        "none: ~, endless: .inf, quoted: '5', list: [no, 1_000]}"
    )
    text = recorded({"body": None}).replace("    body: null\n", "", 1)
    text = text.replace("    headers:\n      Accept", f"    {key}: {value}\n    headers:\n      Accept", 1)
    assert load(text).request.body == (
        b'{"z":1.0e-05,"a":0.10,"id":"12e4567","small":"1e-05","on":true,"hex":31,"octal":8,"day":"2024-01-01",'
        b'"none":null,"endless":".inf","quoted":"5","list":[false,1000]}'
    )


_DUMPED: list[dict[str, Any]] = [
    {},
    {"ensure_ascii": False},
    {"separators": (",", ":")},
    {"separators": (",", ":"), "ensure_ascii": False},
    {"indent": 2},
    {"indent": 2, "ensure_ascii": False},
]


@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text("aé ,:☃"),
        lambda inner: st.lists(inner) | st.dictionaries(st.text("kü"), inner),
    ),
    form=st.sampled_from(_DUMPED),
)
def test_an_answer_that_is_a_value_is_as_long_as_its_headers_say(value: Any, form: dict[str, Any]) -> None:
    written = json.dumps({"it": value}, **form).encode()
    length = {"content-length": [str(len(written))]}
    response = load(recorded({}, {"body": None, "parsed_body": {"it": value}, "headers": length})).response
    assert len(response.body) == len(written)
    assert json.loads(response.body) == {"it": value}


@pytest.mark.parametrize(
    ("length", "body"),
    [
        ("18", b'{"a": [1, 2, "x"]}'),
        ("14", b'{"a":[1,2,"x"]}'),
        ("999", b'{"a":[1,2,"x"]}'),
        ("none", b'{"a":[1,2,"x"]}'),
        (b"18", b'{"a":[1,2,"x"]}'),
    ],
)
def test_an_answer_that_is_a_value_is_compact_where_no_form_is_that_long(length: str | bytes, body: bytes) -> None:
    fields = {"body": None, "parsed_body": {"a": [1, 2, "x"]}, "headers": {"Content-Length": [length]}}
    assert load(recorded({}, fields)).response.body == body


def test_a_body_that_is_a_mapping_is_a_form_where_its_headers_say_so() -> None:
    found = load(
        recorded({"body": {"a": "1 2", "b": "x"}, "headers": {"Content-Type": ["application/x-www-form-urlencoded"]}})
    )
    assert found.request.body == b"a=1+2&b=x"


@pytest.mark.parametrize("headers", [{}, {"Content-Type": ["application/x-www-form-urlencoded"]}])
def test_a_body_that_is_a_list_of_pairs_is_the_form_that_aiohttp_sends(headers: dict[str, list[str]]) -> None:
    request = load(recorded({"body": [["a", "1 2"], ["b", "x"]], "headers": {"accept": ["*/*"], **headers}})).request
    assert request.body == b"a=1+2&b=x"
    assert sorted(request.headers) == [("accept", "*/*"), ("content-type", "application/x-www-form-urlencoded")]


OBJECTS = """\
interactions:
- request:
    body: !!python/object/new:_io.BytesIO
      state: !!python/tuple
      - !!binary |
        eyJhIjoxfQ==
      - 0
      - null
    headers: &id001
      ? !!python/object/apply:multidict._multidict.istr
      - Content-Type
      : - application/json
      ? !!python/object/new:multidict._multidict.istr {args: [X-A]}
      : !!python/tuple
        - !!python/unicode 'b'
    method: POST
    uri: !!python/str 'https://x.test/'
  response:
    body: {string: !!python/object/new:six.text {args: [hi]}}
    headers: *id001
    status: {code: !!python/int '200', message: OK}
version: 1
version: 1
"""


def test_objects_of_python_are_read_as_the_text_and_the_bytes_that_they_hold() -> None:
    found = load(OBJECTS)
    assert found.request.url == "https://x.test/"
    assert found.request.body == b'{"a":1}'
    assert found.request.headers == found.response.headers == (("content-type", "application/json"), ("x-a", "b"))
    assert found.response.status == 200
    assert found.response.body == b"hi"


@pytest.mark.parametrize("pieces", ["- [eyJhI, jox, fQ==]", "- [!!binary ZXlKaEk=, !!binary am94ZlE9PQ==]"])
def test_a_body_that_was_sent_in_pieces_is_joined(pieces: str) -> None:
    before = OBJECTS[OBJECTS.index("!!python/object/new:_io") : OBJECTS.index("    headers: &id001")]
    iterator = f"!!python/object/apply:builtins.iter\n      args:\n      {pieces}\n      state: 0\n"
    assert load(OBJECTS.replace(before, iterator)).request.body == b"eyJhIjoxfQ=="


@pytest.mark.parametrize(
    "tag",
    [
        "!!python/object/apply:builtins.iter {args: [[a, [b]]], state: 0}",
        "!!python/object/apply:builtins.iter []",
        "!!python/object/apply:os.system [touch hacked, x]",
        "!!python/object/apply:os.system {args: [touch hacked], kwds: {a: b}}",
        "!!python/name:os.system ''",
        "!!python/module:os ''",
        "!!python/object:a.B {}",
        "!!python/object/new:a.B {state: {x: 1}}",
        "!!other 'x'",
    ],
)
def test_what_an_object_of_python_does_is_never_done(tag: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CassetteCorrupt, match="is not part of the format"):
        load(OBJECTS.replace("!!python/str 'https://x.test/'", tag))
    assert not list(tmp_path.iterdir())


def test_in_a_cassette_of_aquila_tags_of_python_are_refused() -> None:
    with pytest.raises(CassetteCorrupt, match="line 2: tag"):
        load("aquila: 1\ninteractions: !!python/tuple []\n...\n")


def test_a_key_at_the_top_may_occur_twice_if_nothing_is_lost() -> None:
    twice = recorded().replace("version: 1\n", "") + recorded()
    assert len(YAML.loads(twice.encode(), source="old.yaml").interactions) == 2
    with pytest.raises(CassetteCorrupt, match="'version' occurs twice, with another value"):
        load(recorded() + "version: 2\n")


BOMB = "a: &a0 [x, x]\n" + "".join(f"k{at}: &a{at + 1} [*a{at}, *a{at}]\n" for at in range(50))

PLAIN = b'{"text": "' + b"word " * 50 + b'"}'
PACKED = {
    "gzip": gzip.compress(PLAIN, mtime=0),
    "x-gzip": gzip.compress(PLAIN, mtime=0),
    "deflate": zlib.compress(PLAIN),
    "DEFLATE": zlib.compress(PLAIN, wbits=-15),
    "gzip, deflate": zlib.compress(gzip.compress(PLAIN, mtime=0)),
}


@pytest.mark.parametrize("encoding", PACKED)
@pytest.mark.parametrize("unpacked", [False, True])
def test_compressed_bodies_are_unpacked_once(encoding: str, unpacked: bool) -> None:
    headers = {"Content-Encoding": [encoding], "Content-Length": ["9"], "content-type": ["application/json"]}
    body = {"string": PLAIN.decode() if unpacked else PACKED[encoding]}
    response = load(recorded(None, {"headers": headers, "body": body})).response
    assert response.body == PLAIN
    assert response.headers == (("content-type", "application/json"),)


def test_a_body_of_several_parts_that_were_compressed_one_by_one_is_unpacked_as_a_whole() -> None:
    parts = gzip.compress(b"one ") + gzip.compress(b"and two")
    text = recorded(None, {"headers": {"content-encoding": ["gzip"]}, "body": {"string": parts}})
    assert load(text).response.body == b"one and two"


def test_a_text_that_reads_as_deflate_up_to_a_point_is_kept() -> None:
    body = 'c]"QsziI" 7O7]k'
    assert zlib.decompressobj(-15).decompress(body.encode())
    text = recorded(None, {"headers": {"content-encoding": ["deflate"]}, "body": {"string": body}})
    assert load(text).response.body == body.encode()


@pytest.mark.parametrize("packed", [True, False])
def test_brotli_bodies_too(packed: bool) -> None:
    brotli = pytest.importorskip("brotli")
    headers = {"Content-Encoding": "br"}
    body = {"string": brotli.compress(PLAIN) if packed else PLAIN.decode()}
    assert load(recorded(None, {"headers": headers, "body": body})).response.body == PLAIN


@pytest.mark.parametrize("body", [b"\x94\x89\xdd", b"\x89PNG\r\n\x1a\n\x00\x00"], ids=["reads as brotli", "png"])
def test_a_body_that_is_labelled_brotli_and_was_decoded_already_is_kept(body: bytes) -> None:
    pytest.importorskip("brotli")
    text = recorded(None, {"headers": {"Content-Encoding": "br"}, "body": {"string": body}})
    assert load(text).response.body == body


def test_zstd_bodies_that_were_streamed_are_unpacked_without_the_package_zstandard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    zstd = pytest.importorskip("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")
    monkeypatch.setitem(sys.modules, "zstandard", None)
    compressor = zstd.ZstdCompressor()  # a stream does not say how large its content is
    streamed = compressor.compress(PLAIN) + compressor.flush()
    text = recorded(None, {"headers": {"content-encoding": ["zstd"]}, "body": {"string": streamed}})
    assert load(text).response.body == PLAIN


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


def test_all_headers_of_an_answer_are_given_back_and_no_credentials_of_a_request() -> None:
    headers = {
        "Authorization": ["Bearer secret"],
        "Content-Type": ["text/plain"],
        "Set-Cookie": ["a", "b"],
        "X-Request-Id": "7",
    }
    found = load(recorded({"headers": headers}, {"headers": headers}))
    assert found.request.headers == (("content-type", "text/plain"), ("x-request-id", "7"))
    assert found.response.headers == (
        ("authorization", "Bearer secret"),
        ("content-type", "text/plain"),
        ("set-cookie", "a"),
        ("set-cookie", "b"),
        ("x-request-id", "7"),
    )
    others = {
        "X-Amzn-Bedrock-Input-Token-Count": ["5"],
        "x-goog-upload-url": ["https://x.test/upload"],
        "Www-Authenticate": ["Bearer realm=x"],
        "ETag": ["a"],
        "Mcp-Session-Id": ["s"],
        "Date": ["today"],
        "x-session-token": ["secret"],
        "Content-Length": ["7"],
    }
    names = [name for name, _ in load(recorded(None, {"headers": others})).response.headers]
    assert set(names) == {name.lower() for name in others} - {"content-length"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (recorded({"method": None}), "'method' must be text"),
        (recorded({"uri": None}), "'uri' must be text"),
        (recorded({"uri": "https://me:secret@[::1/v1"}), "'uri' is no URL"),
        (recorded(None, {"status": {"message": "OK"}}), "'status' must have a code"),
        (recorded(None, {"status": None}), "'status' must have a code"),
        (recorded({"body": ["a"]}), "'body' must be text or binary"),
        (recorded({"headers": ["a"]}), "'headers' must be a mapping"),
        (recorded({"headers": {"Accept": [{}]}}), "a header must be text"),
        (recorded(None, {"body": {"base64_string": "?"}}), "not base64"),
        (recorded(None, {"body": {"base64_string": b"AAAA"}}), "not base64"),
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


@pytest.mark.slow
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


@pytest.mark.parametrize("name", slow_but_each(4, names()))
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
