"""Fingerprints of keys: they let a child process redact a key without knowing it.

While cassettes answer, children get dummies in place of the real keys. A child may still get a real key as an argument
or from a file, and must not store or show it. So it is given the length and a salted hash of each key. A key with fewer
than 16 characters could be guessed from a fast hash. So its fingerprint has only two bytes of the fast hash, which rule
out most words, and a slow hash (PBKDF2), which decides.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

from aquila.cassettes.redaction.trivial_values import is_trivial
from aquila.lazy_imports import lazy_modules

# Every run on a machine with keys makes fingerprints, but few search for them, so what the search needs loads late.
if TYPE_CHECKING:
    from aquila.cassettes.redaction import found_secrets
    from aquila.cassettes.redaction.found_secrets import FoundSecret
else:
    lazy_modules(globals(), "aquila.cassettes.redaction: found_secrets")

_WORD = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_"
_KINDS = (
    _WORD + b"-",
    _WORD + b"-.~",
    _WORD + b"-.~+/=",
    bytes(each for each in range(0x21, 0x7F) if each not in b"\"'`\\,;(){}<>[]"),
)
"""The alphabets of words in which a key may stand. The kind of a key is the first alphabet that has its characters."""

_EDGES = b".~+/=:-?!"  # characters that may belong to a key or to the punctuation around it
_MOST_EDGES = 4  # of them that are tried as punctuation, on each side
_LONGEST = 256  # characters of a key that gets a fingerprint
_LONG = 16  # characters from which on the fast hash alone is safe
_SALT = os.urandom(16).hex()
"""The salt of the fingerprints that this process makes. Each fingerprint names its salt, for the children."""


def fingerprints_of(values: Iterable[str]) -> list[str]:
    """Return the fingerprints of secret values: ``length:kind:salt:hash``, for short ones ``…:beginning:slow hash``.

    Trivial values, values with blanks, and values that are too long get none.
    """
    found = []
    for value in values:
        data = value.encode("utf-8", "surrogatepass")
        kind = next((kind for kind, characters in enumerate(_KINDS) if not data.translate(None, characters)), None)
        if kind is not None and len(data) <= _LONGEST and not is_trivial(value):
            known = (
                _hash(data, _SALT) if len(data) >= _LONG else f"{_hash(data, _SALT)[:4]}:{_hash_slowly(data, _SALT)}"
            )
            found.append(f"{len(data)}:{kind}:{_SALT}:{known}")
    return found


@lru_cache  # one entry for each of `_KINDS`
def _words(kind: int) -> re.Pattern[bytes]:
    """Return the pattern of words of a kind. Compiled by the first search, because few runs search."""
    return re.compile(rb"[%s]{8,}+" % re.escape(_KINDS[kind]))


# Both caches hold words of bodies in memory only, and a bounded number of them.
@lru_cache(maxsize=4096)
def _hash(value: bytes, salt: str) -> str:
    return hashlib.sha256(salt.encode() + value).hexdigest()


@lru_cache(maxsize=64)  # the same few words come in every request, and each takes tens of milliseconds
def _hash_slowly(value: bytes, salt: str) -> str:
    return hashlib.pbkdf2_hmac("sha256", value, salt.encode(), 200_000).hex()


class FingerprintRule:
    """A rule of a redactor that finds the words with one of the ``known`` fingerprints.

    Rules with the same fingerprints compare equal, so that equal settings share one redactor.
    """

    def __init__(self, known: tuple[str, ...]) -> None:
        self._known = frozenset(known)
        # By kind of word and length: the salt, the hash or the beginning of it, and the slow hash of a short key.
        self._hashes: dict[int, dict[int, list[tuple[str, str, str]]]] = {}
        for each in sorted(self._known):
            length, kind, salt, quick, *slow = each.split(":")
            by_length = self._hashes.setdefault(int(kind), {})
            by_length.setdefault(int(length), []).append((salt, quick, slow[0] if slow else ""))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FingerprintRule) and self._known == other._known

    def __hash__(self) -> int:
        return hash(self._known)

    def find_in(self, data: bytes) -> Iterator[FoundSecret]:
        """Yield the place of every word with one of the fingerprints."""
        for kind, by_length in self._hashes.items():
            for word in _words(kind).finditer(data):
                for start, end in _places_in_word(data, *word.span()):
                    hashes = by_length.get(end - start)
                    if hashes and _is_known(data[start:end], hashes):
                        yield found_secrets.FoundSecret(start, end, "a key of the parent process")
                        break


def _places_in_word(data: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the places in a word where a key may stand: the whole word, behind an escape, within punctuation."""
    yield start, end
    before = data[start - 1 : start]
    if before in (b"\\", b"%"):
        yield start + (1 if before == b"\\" else 2), end
    if end - start > _LONGEST + 2 * _MOST_EDGES:
        return
    word = data[start:end]
    left, right = len(word) - len(word.lstrip(_EDGES)), len(word) - len(word.rstrip(_EDGES))
    for skipped in range(min(left, _MOST_EDGES) + 1):
        for left_out in range(min(right, _MOST_EDGES) + 1):
            yield start + skipped, end - left_out
    for mark in (b"=", b":"):
        if (at := word.find(mark)) >= 0:
            for left_out in range(min(right, _MOST_EDGES) + 1):
                yield start + at + 1, end - left_out


def _is_known(word: bytes, hashes: Iterable[tuple[str, str, str]]) -> bool:
    return any(
        _hash(word, salt).startswith(quick) and (not slow or _hash_slowly(word, salt) == slow)
        for salt, quick, slow in hashes
    )
