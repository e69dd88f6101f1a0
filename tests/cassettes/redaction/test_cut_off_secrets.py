"""Of a secret at which an answer broke off nothing stays, in whatever encoding it was written."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from html import escape
from urllib.parse import quote, quote_plus

import pytest

from aquila.cassettes.redaction.decoded_views import without_cut_escape
from aquila.cassettes.redaction.scrubber import Scrubber
from aquila.cassettes.redaction.trivial_values import MIN_LENGTH

SECRETS = [
    'S3cr"et/Value+With=Chars123\\x9Zt',
    'Zürich9-Schlüssel/77xQ+aa"b',
    "first9Line+x\nsecond/Line7=",
    "tok%20with+95%7Zq",
    'correct "horse" 7 battery+&staple',
]


def in_json(text: str) -> str:
    return json.dumps(text)[1:-1]


def in_url(text: str) -> str:
    return quote(text, safe="")


ENCODINGS: dict[str, Callable[[str], str]] = {
    "none": str,
    "json": in_json,
    "json in letters": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    "json with slashes": lambda text: in_json(text).replace("/", "\\/"),
    "json in numbers": lambda text: "".join(f"\\u{ord(character):04x}" for character in text),
    "json in json": lambda text: in_json(in_json(text)),
    "url": in_url,
    "url in numbers": lambda text: "".join(f"%{byte:02X}" for byte in text.encode()),
    "url in url": lambda text: in_url(in_url(text)),
    "json in url": lambda text: in_url(in_json(text)),
    "url in json": lambda text: in_json(in_url(text)),
    "form": quote_plus,
    "json in form": lambda text: quote_plus(in_json(text)),
    "html": lambda text: "".join(c if c.isalnum() else f"&#{ord(c)};" for c in text),
    "html in json": lambda text: in_json(escape(text)),
    "repr": lambda text: repr(text.encode())[2:-1],
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "hexadecimal": lambda text: text.encode().hex(),
}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_secret_that_breaks_off_anywhere_is_removed(encoding: str) -> None:
    encode = ENCODINGS[encoding]
    for secret in SECRETS:
        scrubber = Scrubber({secret: "a key"}, ())
        shortest = encode(secret[: MIN_LENGTH + 1])
        for cut in range(len(shortest), len(encode(secret)) + 1):
            body = f'{{"text": "the key is {encode(secret)[:cut]}'.encode()
            clean, _ = scrubber.scrub_bytes(body, cut_off=True)
            assert clean == b'{"text": "the key is [redacted]', clean


@pytest.mark.parametrize("text", [b"abc", b"abc\\\\", b"abc\\\n", b"abc\\u00e\n"])
def test_only_an_escape_at_the_very_end_is_cut_off(text: bytes) -> None:
    assert without_cut_escape(text) == text
    assert without_cut_escape(text + b"\\u00e") == text
