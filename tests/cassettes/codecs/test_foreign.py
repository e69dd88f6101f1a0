"""A file that is no cassette is refused, and the message names its format. It is never read as an empty cassette."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgpack
import pytest

from aquila.cassettes.codecs import codec_for
from aquila.errors import CassetteCorrupt
from tests.cassettes.codecs.test_vcrpy import recorded

YAML = codec_for(Path("a.yaml"))
MSGPACK = codec_for(Path("a.msgpack"))

GO_VCR = """
version: 1
interactions:
- request: {body: "", form: {}, headers: {}, url: "https://api.example/", method: GET}
  response: {body: "hello", headers: {}, status: 200 OK, code: 200, duration: ""}
"""
RUBY = """
http_interactions:
- request: {method: get, uri: "https://api.example/", body: {encoding: UTF-8, string: ""}, headers: {}}
  response: {status: {code: 200, message: OK}, headers: {}, body: {encoding: UTF-8, string: hello}}
  recorded_at: Tue, 24 Nov 2026 10:00:00 GMT
recorded_with: VCR 6.3.1
"""
OURS = "interactions:\n- request: {method: GET, url: 'https://api.example/'}\n  response: {status: 200, body: x}\n...\n"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (GO_VCR, "a cassette of go-vcr"),
        (RUBY, "a cassette of VCR for Ruby"),
        (OURS, "a cassette of Aquila that has lost this line"),
        ("log: {version: '1.2', entries: []}", "an HTTP archive"),
        ("consumer: {name: a}\nprovider: {name: b}\ninteractions: []", "a contract of Pact"),
        ("request: {method: GET}\nresponse: {status: 200}", "a stub of WireMock"),
        ("alice: tok-4711\nbob: tok-4712", "a mapping of names to texts"),
        ("- 1\n- 2", "a list"),
        ("just words", "a text"),
        ("a: {b: 1}", "the line 'aquila: 1' at the top is missing"),
        ("!ruby/object:A {}", "tag !ruby/object:A"),
        ("a: b: c", "not YAML"),
    ],
)
def test_a_file_of_another_format_is_named_and_nobody_is_told_to_delete_it(text: str, kind: str) -> None:
    with pytest.raises(CassetteCorrupt, match=kind) as raised:
        YAML.loads(text.encode(), source="x.yaml")
    message = str(raised.value)
    assert message.startswith("x.yaml, line ")
    assert "delete" not in message
    assert "4711" not in message
    assert "The file stays as it is" in message


@pytest.mark.parametrize("value", [{"alice": "tok-4711"}, ["other", 1], 5, "text"])
def test_nobody_is_told_to_delete_other_msgpack_data(value: Any) -> None:
    with pytest.raises(CassetteCorrupt, match="not a cassette, though in msgpack form") as raised:
        MSGPACK.loads(msgpack.packb(value), source="x.msgpack")
    assert "delete" not in str(raised.value)
    assert "4711" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (recorded(sessions=[1]), "unknown key 'sessions'"),
        (recorded(metadata={"a": 1}), "'metadata' of a test, which a cassette of Aquila cannot keep"),
        (recorded({"trailers": {}}), "unknown key 'trailers'"),
        (recorded(None, {"trailers": {}}), "unknown key 'trailers'"),
        (recorded(None, {"status": {"code": 200, "more": 1}}), "unknown key 'more'"),
        (recorded(None, {"body": {"file": "a.bin"}}), "unknown key 'file'"),
        (recorded(None, {"body": {"encoding": "UTF-8", "string": "x"}}), "unknown key 'encoding'"),
        (recorded(None, {"body": {}}), "a body must have one form"),
        (recorded().replace("- request:", "- recorded_by: me\n  request:"), "unknown key 'recorded_by'"),
    ],
)
def test_a_cassette_of_vcrpy_with_an_unknown_part_is_refused_and_not_read_without_it(text: str, message: str) -> None:
    with pytest.raises(CassetteCorrupt, match=rf"x.yaml, line \d+: .*{message}") as raised:
        YAML.loads(text.encode(), source="x.yaml")
    assert "delete" not in str(raised.value)


def test_a_parsed_body_that_is_null_is_not_empty() -> None:
    text = recorded(None, {"body": None}).replace("response:\n", "response:\n    parsed_body: null\n")
    assert YAML.loads(text.encode(), source="x.yaml").interactions[0].response.body == b"null"
