"""Finds secrets whose value is known: those of the environment, and the credentials of a request."""

from __future__ import annotations

import base64
import re
import string
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import NamedTuple

from aquila.cassettes.redaction.found_secrets import PLACEHOLDER, FoundSecret
from aquila.cassettes.redaction.secret_patterns import ESCAPE_BEFORE, FLATTENING, RUN
from aquila.cassettes.redaction.trivial_values import MIN_LENGTH
from aquila.lazy_patterns import lazy_pattern


class Needle(NamedTuple):
    """One way in which a secret value may be written."""

    text: bytes
    value: bytes
    kind: str
    whole: re.Pattern[bytes] | None = None
    """A pattern that must match where the text was found: it says that the text stands alone."""
    alphabet: bytes = b""
    """If not empty, the whole run of these characters around the text is replaced."""
    replacement: bytes = PLACEHOLDER
    words: tuple[int, ...] = ()
    """Wherever the text stands in data that is cut into words, one of these lies within it. Empty for a text of less
    than 15 bytes."""

    @property
    def has_token_run(self) -> bool:
        """Whether it holds a run of token characters that texts without secrets rarely have."""
        return RUN in self.text.translate(FLATTENING)

    def find_in(self, data: bytes) -> Iterator[FoundSecret]:
        """Find every occurrence, in time linear in the data."""
        start = data.find(self.text)
        while start >= 0:
            end = start + len(self.text)
            start, end = _widen_to_run(data, start, end, self.alphabet)
            if self.whole is None or self.whole.match(data, start):
                yield FoundSecret(start, end, self.kind, self.replacement, self.value)
            start = data.find(self.text, end)


def _widen_to_run(data: bytes, start: int, end: int, alphabet: bytes) -> tuple[int, int]:
    """Widen a range to all the characters of an alphabet around it, and the padding of base64 behind them.

    An empty alphabet leaves it as it is.
    """
    if not alphabet:
        return start, end
    block = 256
    while True:  # in blocks that double, so that the time is linear in the length of the run
        before = data[max(0, start - block) : start]
        rest = len(before.rstrip(alphabet))
        start -= len(before) - rest
        if rest or not start:
            break
        block *= 2
    block = 256
    while True:
        behind = data[end : end + block]
        rest = len(behind.lstrip(alphabet))
        end += len(behind) - rest
        if rest or len(behind) < block:
            break
        block *= 2
    padding = data[end : end + 2]
    return start, end + len(padding) - len(padding.lstrip(b"="))


# A secret that is a plain word or number counts only where it stands alone, not within a longer word or number. An
# escape before it, such as \n, ends in a letter and is no part of it.
_ALONE = rb"(?:(?<![\w.])|%s)" % ESCAPE_BEFORE, rb"(?![\w.]*\w)"
_ALPHANUMERIC = (string.ascii_letters + string.digits).encode()
_NEEDS_ESCAPE = lazy_pattern(rb"[^!-~]|[\"'\\]")
"""What JSON or Python may have to write as an escape, and blanks, for which URLs have another character."""
_WORD = 8  # bytes
_ANY_WORD = -1  # no word has this value
FEW = 32
"""Up to so many needles are found sooner by a search for each than through a table of their words."""


class KnownSecrets:
    """Finds known values in bytes: as they are, in base64, and in hexadecimal.

    ``secrets`` are pairs of a value and its kind. Not changed after it is built.
    """

    __slots__ = ("_all_texts", "_by_word", "_plain_parts", "needles", "needles_without_run")

    def __init__(self, secrets: Iterable[tuple[str, str]]) -> None:
        known = list(secrets)
        raw = (value.encode("utf-8", "surrogatepass") for value, _ in known)
        # Of each value that cannot stand in JSON without escapes: the longest part that needs none.
        self._plain_parts = [max(_NEEDS_ESCAPE.split(each), key=len) for each in raw if _NEEDS_ESCAPE.search(each)]
        needles = [needle for value, kind in known for needle in _needles_for(value, kind)]
        self._all_texts = b"\n".join(needle.text for needle in needles)
        self.needles_without_run = tuple(needle for needle in needles if not needle.has_token_run)
        """Those of ``needles`` that may stand in data without a run of token characters, as many texts are."""
        self.needles = (*self.needles_without_run, *(needle for needle in needles if needle.has_token_run))
        """The ways in which the values may be written."""
        self._by_word: dict[int, list[int]] | None = None  # the numbers of needles, built by the first search for many

    def may_be_escaped_in(self, data: bytes) -> bool:
        """Say whether backslashes in ``data`` may hide a known value that needs them. False for most data."""
        return any(part in data for part in self._plain_parts)

    def choose_needles(self, data: bytes) -> Sequence[Needle]:
        """Return the needles that may stand in ``data``, for a search for more than ``FEW``.

        The work does not grow with the number of needles: the data is cut into words, and wherever a needle stands, one
        of these lies within it.
        """
        if self._by_word is None:
            by_word: dict[int, list[int]] = {}
            for number, needle in enumerate(self.needles):
                for word in needle.words or (_ANY_WORD,):
                    by_word.setdefault(word, []).append(number)
            self._by_word = by_word  # set when it is complete: other threads may be searching
        words = memoryview(data)[: len(data) // _WORD * _WORD].cast("Q")
        chosen = {number for word in self._by_word.keys() & {_ANY_WORD, *words} for number in self._by_word[word]}
        return [self.needles[number] for number in sorted(chosen)]

    def find_outside_texts(self, data: bytes, shortest: int, printable: bytes) -> Iterator[FoundSecret]:
        """Find known values in binary data, except those that a search in its texts finds.

        These are values of at least ``shortest`` bytes, all of which are ``printable``.
        """
        for needle in self.needles:
            if len(needle.text) < shortest or needle.text.translate(None, printable):
                yield from needle.find_in(data)

    def find_cut_off_end(self, data: bytes) -> Iterator[FoundSecret]:
        """Find the beginning of a value at the end of ``data``, where a stream broke off."""
        last = data[-MIN_LENGTH:]
        if len(last) < MIN_LENGTH or last not in self._all_texts:
            return
        for needle in self.needles:
            at = needle.text.rfind(last, 0, -1)
            while at >= 0 and not data.endswith(needle.text[: at + MIN_LENGTH]):
                at = needle.text.rfind(last, 0, at + MIN_LENGTH - 1)
            if at >= 0:
                start, end = _widen_to_run(data, len(data) - at - MIN_LENGTH, len(data), needle.alphabet)
                yield FoundSecret(start, end, needle.kind)

    def find_cut_off_start(self, data: bytes) -> Iterator[FoundSecret]:
        """Find the end of a value at the beginning of ``data``, where a text was shortened."""
        first = data[:MIN_LENGTH]
        if len(first) < MIN_LENGTH or first not in self._all_texts:
            return
        for needle in self.needles:
            at = needle.text.find(first, 1)
            while at >= 0 and not data.startswith(needle.text[at:]):
                at = needle.text.find(first, at + 1)
            if at >= 0:
                yield FoundSecret(*_widen_to_run(data, 0, len(needle.text) - at, needle.alphabet), needle.kind)


# A pure function. Each scrubber builds its needles anew, but nearly all of them from the same secrets. Of more secrets
# than the cache has room for it would keep none, since they are asked for in turn.
@lru_cache(maxsize=4096)
def _needles_for(value: str, kind: str) -> tuple[Needle, ...]:
    raw = value.encode("utf-8", "surrogatepass")
    number = _is_number(value)
    # A number may stand in JSON without quotes, and then only a number may replace it.
    replacement = b"0" if number else PLACEHOLDER
    stands_alone = number or (value.isalpha() and len(value) < 20)
    found: dict[bytes, Needle] = {}
    for text in _spellings_of(value):
        whole = re.compile(re.escape(text).join(_ALONE)) if stands_alone else None
        found[text] = Needle(text, raw, kind, whole, replacement=replacement)
    for alphabet, core in _base64_cores(raw):
        # The characters beside the core hold bits of the secret too, so all of that base64 is replaced.
        found.setdefault(core, Needle(core, raw, f"{kind}, in base64", alphabet=alphabet))
    for text in (raw.hex().encode(), raw.hex().upper().encode()):
        found.setdefault(text, Needle(text, raw, f"{kind}, in hexadecimal"))
    return tuple(needle._replace(words=_words_of(needle.text)) for needle in found.values())


def _words_of(text: bytes) -> tuple[int, ...]:
    """Return the word at each distance from the beginning at which a word of the data may begin."""
    if len(text) < 2 * _WORD - 1:
        return ()
    return tuple(int.from_bytes(text[at : at + _WORD], sys.byteorder) for at in range(_WORD))


def _spellings_of(value: str) -> set[bytes]:
    """Return the value in the encodings in which it may stand, without escapes, which ``decoded_views`` decodes.

    Header fields are Latin-1 to many clients and servers, also if they hold UTF-8. URLs have a plus sign for a blank.
    """
    raw = value.encode("utf-8", "surrogatepass")
    spellings = {raw, raw.decode("latin-1").encode()}
    with suppress(UnicodeEncodeError):
        spellings.add(value.encode("latin-1"))
    return spellings | {each.replace(b" ", b"+") for each in spellings}


def _base64_cores(raw: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield an alphabet of base64 and the characters that encode bits of the value only, for each alignment."""
    for lead in range(3):  # base64 encodes three bytes at a time, and the value may begin at any of them
        text = base64.b64encode(bytes(lead) + raw)
        first = (lead * 8 + 5) // 6
        core = text[first : (lead + len(raw)) * 8 // 6]
        yield _ALPHANUMERIC + b"+/", core
        yield _ALPHANUMERIC + b"_-", core.translate(bytes.maketrans(b"+/", b"-_"))


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True
