"""A child process finds the keys that are hidden from it by their fingerprints, and nothing else."""

import pytest

from aquila.cassettes.redaction.fingerprints import FingerprintRule, fingerprints_of
from aquila.cassettes.redaction.redactor import Redactor

SHORT = "q7Zt-93kx"
KEYS = (
    *(SHORT, "q7Zt93kxB2mW8vLc-4711", "q7Zt.93kx/B2mW8vLc+4711", "k3y-Of-10", "p@ss!w0rd:x9", "Zq81~4711.x"),
    *("0a1b2c3d4e5f60718293.aB3dE5gH", "aB3+dE5/gH7jK9mN1pQ3=="),
)
AROUND = (
    *("{}", "the key {} is", "use {}.", "a\n{}\nb", "a\\n{}\\n", '{{"a": "{}"}}', "({})", "key: {}, so"),
    *("key={}", "key={}....", "...{}?!", "x=1%0A{}", "https://x/?q=%0A{}%0A&b"),
)


@pytest.mark.parametrize("key", KEYS)
def test_a_key_is_found_where_it_is_a_word(key: str) -> None:
    known = fingerprints_of(KEYS)
    assert not any(key[at : at + 8] in " ".join(known) for at in range(len(key) - 7))
    clean = Redactor(extra=[FingerprintRule(tuple(known))]).redact_text
    for around in AROUND:
        assert clean(around.format(key)) == around.format("[redacted]")
    for other in (f"x{key}x", key[::-1], key[:-1], key.upper()):
        assert clean(f"use {other}") == f"use {other}"


def test_of_a_short_key_the_slow_hash_decides() -> None:
    # Two bytes of a quick hash are the same for many words: by these alone any of them would be redacted.
    (fingerprint,) = fingerprints_of([SHORT])
    quick, _, slow = fingerprint.rpartition(":")
    other = FingerprintRule((f"{quick}:{'0' * len(slow)}",))
    assert list(other.find_in(SHORT.encode())) == []
