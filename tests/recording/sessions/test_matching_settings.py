"""Wrong rules are refused with a message that says what to write."""

import pytest

from aquila.cassettes.matching.match_rules import MatchRules
from aquila.cassettes.redaction.request_headers import check_header_names, is_allowed_header, is_secret_header
from aquila.errors import ConfigError


@pytest.mark.parametrize(
    ("match_on", "message"),
    [
        (("boddy",), r"no part 'boddy'; did you mean 'body'\?"),
        (("+hots",), r"no part '\+hots'; did you mean 'host'\?"),
        (("xyzzy",), r"no part 'xyzzy'; known are body, header:<name>, headers, host, "),
        (("header:",), "not the name of a header field"),
        (("header:a b",), "not the name of a header field"),
        (("header:x-*",), r"name one header field, without \*"),
        (("+header:Authorization",), "'authorization' carries credentials and is never stored"),
        (("+host", "path"), r"begin every entry with \+ or -"),
        (("-method", "-path", "-query", "-body"), "nothing is left to compare"),
        ((), "nothing is left to compare"),
        (("path", "metadata"), "'metadata' is part of the body; add 'body'"),
    ],
)
def test_a_wrong_match_on_is_explained(match_on: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MatchRules(match_on)


@pytest.mark.parametrize(
    ("path", "rest"),
    [
        ("a..b", "..b"),
        (".a", ".a"),
        ("$a", "a"),
        ("a b", " b"),
        ("a[x]", "[x]"),
        ("a.", "."),
        ("a[0]b", "b"),
        ("a['b]", "['b]"),
        ("messages[*.name", "[*.name"),
        ("a[--1]", "[--1]"),
    ],
)
def test_a_wrong_path_is_explained(path: str, rest: str) -> None:
    with pytest.raises(ConfigError) as caught:
        MatchRules(ignore=(path,))
    assert f"cannot read the JSON path {path!r} from {rest!r} on" in str(caught.value)


@pytest.mark.parametrize("path", ["", "$", "  "])
def test_a_path_to_everything_is_refused(path: str) -> None:
    with pytest.raises(ConfigError, match="names the whole body"):
        MatchRules(ignore=(path,))


@pytest.mark.parametrize(
    "name",
    [
        *("authorization", "Proxy-Authorization", "cookie", "set-cookie", "x-api-key", "x-goog-api-key", "api_key"),
        *("x-amz-security-token", "x-csrf-token", "x-auth", "x-session-id", "x-hub-signature-256"),
    ],
)
def test_headers_that_carry_credentials_can_never_be_added(name: str) -> None:
    assert is_secret_header(name)
    with pytest.raises(ConfigError, match="carries credentials"):
        check_header_names([name], "headers")
    assert not is_allowed_header(frozenset(), ("x-*", "*", "api_*", "set-*"), name.lower())


@pytest.mark.parametrize(
    "name", ["x-ratelimit-remaining-tokens", "openai-organization", "idempotency-key", "x-request-id", "x-author"]
)
def test_other_headers_can_be_added(name: str) -> None:
    assert check_header_names([f" {name.upper()} "], "headers") == (name,)
    assert is_allowed_header(frozenset(), (name,), name)
    assert is_allowed_header(frozenset(), (f"{name[:4]}*",), name)
    assert not is_allowed_header(frozenset(), ("other",), name)
