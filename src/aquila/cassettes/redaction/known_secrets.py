"""Finds secrets whose value is known: those of the environment, and the credentials of a request."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote, quote_plus

from aquila.cassettes.model import Headers
from aquila.cassettes.redaction.found_secrets import PLACEHOLDER, FoundSecret
from aquila.cassettes.redaction.header_allowlist import is_credential_header
from aquila.cassettes.redaction.secret_patterns import RUN, flatten_tokens
from aquila.cassettes.redaction.trivial_values import MIN_LENGTH, is_trivial


def credentials_in(headers: Headers) -> Iterator[str]:
    """Yield the credentials in the header fields of a request."""
    for name, text in headers:
        if is_credential_header(name):
            scheme, _, rest = text.strip().partition(" ")
            value = rest.strip() if rest and scheme.isalpha() else text.strip()
            if scheme.lower() == "basic":
                yield from _basic_password(value)
            if not is_trivial(value):
                yield value


def _basic_password(value: str) -> Iterator[str]:
    try:
        password = base64.b64decode(value).decode().partition(":")[2]
    except ValueError:
        return
    if not is_trivial(password):
        yield password


@dataclass(frozen=True, slots=True)
class _Needle:
    """One way in which a value may be written."""

    text: bytes
    pattern: re.Pattern[bytes]
    kind: str
    replacement: bytes
    long: bool
    """Whether it holds a run of token characters that texts without secrets rarely have."""


# A word or a number must stand alone: it may be part of a longer one. An escape before it is not part of it.
_WHOLE = rb"(?:(?<![\w.])|(?<=\\[bfnrt])|(?<=\\u[0-9a-fA-F]{4})|(?<=%%[0-9a-fA-F]{2}))%s(?![\w.]*\w)"
_UNICODE_ESCAPE = re.compile(r"(?<=\\u)[0-9a-f]{4}")


class KnownSecrets:
    """Finds known values in bytes: as they are, escaped for JSON and URLs, and in base64."""

    __slots__ = ("_long", "_short", "_values", "ascii_only")

    def __init__(self, secrets: Iterable[tuple[str, str]]) -> None:
        known = list(secrets)
        self.ascii_only = all(value.isascii() for value, _ in known)
        self._values = [(value.encode("utf-8", "surrogatepass"), kind) for value, kind in known]
        needles = [needle for value, kind in known for needle in _needles_for(value, kind)]
        self._long = tuple(needle for needle in needles if needle.long)
        self._short = tuple(needle for needle in needles if not needle.long)

    def find_in(self, data: bytes, flat: bytes) -> Iterator[FoundSecret]:
        """Find every occurrence in ``data``, of which ``flat`` is the flattened form."""
        needles = (*self._short, *self._long) if self._long and RUN in flat else self._short
        for needle in needles:
            if needle.text in data:
                for match in needle.pattern.finditer(data):
                    yield FoundSecret(*match.span(), needle.kind, needle.replacement)

    def find_outside_texts(self, data: bytes, shortest: int) -> Iterator[FoundSecret]:
        """Find the values that are no ASCII text of at least ``shortest`` characters, whatever is around them."""
        for needle in (*self._short, *self._long):
            if (len(needle.text) < shortest or not needle.text.isascii()) and needle.text in data:
                for match in needle.pattern.finditer(data):
                    yield FoundSecret(*match.span(), needle.kind, needle.replacement)

    def find_cut_off_end(self, data: bytes) -> Iterator[FoundSecret]:
        """Find the beginning of a value at the end of ``data``, where a stream broke off."""
        for value, kind in self._values:
            for length in range(len(value) - 1, MIN_LENGTH - 1, -1):
                if data.endswith(value[:length]):
                    yield FoundSecret(len(data) - length, len(data), kind)
                    break

    def find_cut_off_start(self, data: bytes) -> Iterator[FoundSecret]:
        """Find the end of a value at the beginning of ``data``, where a text was shortened."""
        for value, kind in self._values:
            for length in range(len(value) - 1, MIN_LENGTH - 1, -1):
                if data.startswith(value[-length:]):
                    yield FoundSecret(0, length, kind)
                    break


@lru_cache(maxsize=256)
def _needles_for(value: str, kind: str) -> tuple[_Needle, ...]:
    raw = value.encode("utf-8", "surrogatepass")
    number = _is_number(value)
    # A number may stand in JSON without quotes, and then only a number may replace it.
    whole = number or (value.isalpha() and len(value) < 20)
    found: dict[bytes, _Needle] = {}
    for text in _spellings_of(value):
        pattern = re.compile((_WHOLE if whole else b"%s") % re.escape(text))
        found[text] = _Needle(text, pattern, kind, b"0" if number else PLACEHOLDER, RUN in flatten_tokens(text))
    for alphabet, core in _base64_cores(raw):
        # The characters beside the core hold bits of the secret too, so all of that base64 is replaced.
        pattern = re.compile(b"[%s]*%s[%s]*={0,2}" % (alphabet, re.escape(core), alphabet))
        found.setdefault(core, _Needle(core, pattern, f"{kind}, in base64", PLACEHOLDER, RUN in flatten_tokens(core)))
    return tuple(found.values())


def _spellings_of(value: str) -> set[bytes]:
    """Return the value as encoders write it: plain, percent-encoded, and as JSON in up to three layers."""
    texts = {value, value.replace(" ", "+")}
    texts |= {quote(value, safe=safe, errors="surrogatepass") for safe in ("", "/")}
    texts.add(quote_plus(value, errors="surrogatepass"))
    for ascii_only in (True, False):
        text = value
        for _ in range(3):
            text = json.dumps(text, ensure_ascii=ascii_only)[1:-1]
            texts |= {text, _UNICODE_ESCAPE.sub(lambda match: match[0].upper(), text)}
    return {text.encode("utf-8", "surrogatepass") for text in texts}


def _base64_cores(raw: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the base64 characters that hold nothing but the value, after their alphabet, for each alignment."""
    for lead in range(3):
        text = base64.b64encode(bytes(lead) + raw)
        first = (lead * 8 + 5) // 6
        core = text[first : (lead + len(raw)) * 8 // 6]
        yield b"A-Za-z0-9+/", core
        yield b"A-Za-z0-9_-", core.translate(bytes.maketrans(b"+/", b"-_"))


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True
