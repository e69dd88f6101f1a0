"""Fingerprints of keys. With them a child process can redact a key that is hidden from it.

While cassettes answer, children get dummies in place of the real keys. A child may still get a real key as an argument
or from a file, and must not store or show it. So it is given the salted hash and the length of each. Only long keys of
letters, digits, dashes and underscores have a fingerprint: a short password could be guessed from its hash.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import TYPE_CHECKING

from aquila.cassettes.redaction.trivial_values import is_trivial
from aquila.lazy_imports import lazy_modules

# Every run on a machine with keys makes fingerprints. Few search for them.
if TYPE_CHECKING:
    from aquila.cassettes.redaction import found_secrets
else:
    lazy_modules(globals(), found_secrets="aquila.cassettes.redaction.found_secrets")

_LONG_KEY = re.compile(r"[\w-]{16,256}", re.ASCII)
_SALT = os.urandom(16).hex()


def fingerprints_of(values: Iterable[str]) -> list[str]:
    """Return the fingerprints of those values that can have one."""
    return [_salted_hash(value, _SALT) for value in values if _LONG_KEY.fullmatch(value) and not is_trivial(value)]


@lru_cache(maxsize=4096)
def _salted_hash(value: str, salt: str) -> str:
    return f"{len(value)}:{salt}:{hashlib.sha256((salt + value).encode()).hexdigest()}"


@lru_cache(maxsize=8)
def fingerprint_rule(known: tuple[str, ...]) -> Callable[[str], str]:
    """Return a redactor that replaces each word that has one of these fingerprints."""
    salts = {(int(length), salt) for length, salt, _ in (each.split(":") for each in known)}
    lengths = frozenset(length for length, _ in salts)

    def replace_known(match: re.Match[str]) -> str:
        value = match[0]
        if len(value) in lengths and any(
            _salted_hash(value, salt) in known for length, salt in salts if length == len(value)
        ):
            return found_secrets.PLACEHOLDER.decode()
        return value

    def redact_known(text: str) -> str:
        return _LONG_KEY.sub(replace_known, text)

    return redact_known
