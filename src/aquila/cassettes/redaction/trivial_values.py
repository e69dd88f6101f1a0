"""Says which values are too short or too common to be treated as secrets."""

from __future__ import annotations

import re

MIN_LENGTH = 8
"""The fewest characters of a secret. A shorter value would be found everywhere."""

# Patterns are texts here, which `re` compiles and caches at their first use. Every run on a machine with keys loads
# this module, and compiling takes longer than everything else in it.
# A word matches in one way only. If there were two ways, the number of ways to try would double with each word.
_WORD = r"(?:[^\W\d_][^\W\d_A-Z]*|[A-Z]{2,})"
_WORDS = rf"{_WORD}(?:[-_. /]{_WORD})*"


def words_of(text: str) -> frozenset[str]:
    """Return the words of a text, which are separated by blanks."""
    return frozenset(text.split())


_PLACEHOLDER_WORDS = words_of(
    "change changeme default demo disabled dummy enabled example fake foo invalid key local localhost me missing "
    "mock my needed no none not null optional password placeholder required sample secret some test testing token "
    "unset unused used value your"
)
_COMMON_WORDS = _PLACEHOLDER_WORDS | words_of(
    "abc admin administrator api app apikey base basic bearer cache cloud container data database db dev developer "
    "development django docker engine guest hello host insecure integration letmein live mariadb master memory "
    "minio mongo mongodb mysql of only pass passwd postgres postgresql prod production public pw pwd qwerty rabbit "
    "rabbitmq redis root server service sqlite staging super superuser supersecret system the user username web "
    "welcome worker world"
)
_NUMBERED = r"(.*?[^\W\d_])[-_.]?[0-9]{1,4}[!.]?"
_FIVE_CONSONANTS = r"[b-df-hj-np-tv-xz]{5}"


def is_common_word(value: str) -> bool:
    """Say whether a value is one of the words that stand in place of a password: ``password``, ``postgres``."""
    return value.strip("[]{}<>$").lower() in _COMMON_WORDS


def is_trivial(value: str) -> bool:
    """Say whether a value is too short or too common to be scrubbed: ``true``, ``test-key``, ``postgres1``.

    Scrubbing it would change texts that have nothing to do with it.
    """
    if len(value) < MIN_LENGTH or len(set(value)) < 4:
        return True
    if value.isdigit() and len(value) < 12:
        return True
    if len(value) < 40 and (numbered := re.fullmatch(_NUMBERED, value)):
        return _COMMON_WORDS.issuperset(re.split("[-_. /]", numbered[1].lower()))
    if len(value) < 100 and re.fullmatch(_WORDS, value):
        words = re.split("[-_. /]", value.lower())
        if len(value) < 12 or _COMMON_WORDS.issuperset(words):
            return True
        if len(words) == 1:
            return len(value) < 20 and _reads_like_a_word(words[0])
        return len(value) < 32 and not _PLACEHOLDER_WORDS.isdisjoint(words)
    return False


def _reads_like_a_word(word: str) -> bool:
    """Say whether letters can be pronounced: ``administrator`` can, ``qxkwvzjrmtpb`` cannot."""
    vowels = sum(word.count(vowel) for vowel in "aeiouy")
    return not word.isascii() or (vowels * 5 >= len(word) and re.search(_FIVE_CONSONANTS, word) is None)
