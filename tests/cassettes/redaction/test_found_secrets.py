"""Places of secrets in bytes: which of them are one."""

from __future__ import annotations

from aquila.cassettes.redaction.found_secrets import (
    FoundSecret,
    SecretNumbers,
    merge_found,
    number_placeholders_anew,
    replace_found,
)

DATA = b"key=abcdefgh, then xyz"


def clean(*places: tuple[int, int]) -> bytes:
    found = merge_found(FoundSecret(start, end, "known value") for start, end in places)
    return replace_found(DATA, SecretNumbers().number_found(DATA, found))[0]


def test_places_that_overlap_or_touch_are_one_secret() -> None:
    assert clean((4, 12)) == b"key=[redacted], then xyz"
    assert clean((8, 12), (4, 8)) == b"key=[redacted], then xyz", "they touch"
    assert clean((4, 9), (7, 12)) == b"key=[redacted], then xyz"
    assert clean((4, 12), (6, 8)) == b"key=[redacted], then xyz"


def test_the_value_without_escapes_is_known_of_a_place_that_has_no_other_beginning() -> None:
    plain, escaped = FoundSecret(4, 8, "known value"), FoundSecret(4, 12, "known value", value=b"unescaped")
    assert [each.value for each in merge_found([plain, escaped])] == [b"unescaped"]
    assert [each.value for each in merge_found([plain, escaped._replace(start=6)])] == [b""]
    assert [each.value for each in merge_found([escaped, plain._replace(start=6)])] == [b"unescaped"]


def test_a_placeholder_and_the_same_one_in_a_url_keep_one_number() -> None:
    text = "https://a.example/?key=%5Bredacted-3%5D then [redacted-3] and [redacted]"
    assert number_placeholders_anew(text) == "https://a.example/?key=%5Bredacted%5D then [redacted] and [redacted-2]"


def test_places_apart_are_two_and_an_equal_value_is_the_same_one() -> None:
    assert clean((19, 22), (4, 12)) == b"key=[redacted], then [redacted-2]"
    assert clean((4, 7), (8, 12)) == b"key=[redacted]d[redacted-2], then xyz"
