"""Values that are too short or too common to be a secret."""

from __future__ import annotations

import re

MIN_LENGTH = 8
"""A shorter value is not taken for a secret, because it would be found everywhere."""

_WORDS = re.compile(r"(?:[a-z]+|[A-Z][a-z]+|[A-Z]+)(?:[-_. /](?:[a-z]+|[A-Z][a-z]+|[A-Z]+))*")
_PLACEHOLDER_WORDS = frozenset(
    re.findall(
        r"\w+",
        "change changeme default demo disabled dummy enabled example fake foo invalid key local localhost me missing "
        "mock my needed no none not null optional password placeholder required sample secret some test testing token "
        "unset unused used value your",
    )
)


def is_trivial(value: str) -> bool:
    """Say whether a value is too short or too common to be scrubbed: ``true``, ``test-key``, ``xxxxxxxx``.

    Scrubbing it would change texts that have nothing to do with it.
    """
    if len(value) < MIN_LENGTH or len(set(value)) < 4:
        return True
    if value.isdigit() and len(value) < 12:
        return True
    if _WORDS.fullmatch(value):
        words = re.split("[-_. /]", value.lower())
        return len(value) < 12 or (len(value) < 32 and not _PLACEHOLDER_WORDS.isdisjoint(words))
    return False
