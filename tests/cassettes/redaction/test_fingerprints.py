"""A child process finds the keys that are hidden from it by their fingerprints, and nothing else."""

import pytest

from aquila.cassettes.redaction.fingerprints import FingerprintRule, fingerprints_of

SHORT, LONG, DOTTED = "q7Zt-93kx", "q7Zt93kxB2mW8vLc-4711", "q7Zt.93kx/B2mW8vLc+4711"


def found(rule: FingerprintRule, data: bytes) -> list[bytes]:
    return [data[one.start : one.end] for one in rule.find_in(data)]


@pytest.mark.parametrize("key", [SHORT, LONG, DOTTED])
@pytest.mark.parametrize(
    "around", [b"%s", b"the key %s is", b"a\\n%s\\n", b"x=1%%0A%s", b'"%s"', b"...%s?!", b"key=%s...."]
)
def test_a_key_is_found_where_it_is_a_word(key: str, around: bytes) -> None:
    rule = FingerprintRule(tuple(fingerprints_of([key])))
    data = around % key.encode()
    assert found(rule, data) == [key.encode()]


def test_of_a_short_key_the_slow_hash_decides() -> None:
    # Two bytes of a quick hash are the same for many words: by these alone any of them would be redacted.
    (fingerprint,) = fingerprints_of([SHORT])
    quick, _, slow = fingerprint.rpartition(":")
    other = FingerprintRule((f"{quick}:{'0' * len(slow)}",))
    assert found(other, SHORT.encode()) == []
