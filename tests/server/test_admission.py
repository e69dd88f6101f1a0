"""Whom the server answers: the names that reach it, and what browsers say about pages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from aquila.errors import ConfigError
from aquila.server.admission import Admission, read_host_names

TOKEN = "a-token-for-this-test"
DEFAULT = Admission(TOKEN)


def refusal_of(admission: Admission, *fields: tuple[str, str]) -> str | None:
    headers = Headers(raw=[(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields])
    rejection = admission.find_rejection(headers)
    return None if rejection is None else rejection.code


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LocalHost:8377",
        "127.0.0.1:1",
        "127.0.0.2",
        "[::1]:8377",
        "[::1]",
        "::1",
        "api.localhost:80",
        "localhost.",
    ],
)
def test_a_loopback_name_reaches_the_server(host: str) -> None:
    assert refusal_of(DEFAULT, ("host", host)) is None


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:8377", "localhost.evil.example", "127.0.0.1.evil.example", "notlocalhost"),
        *(
            "localhost:80@evil.example",
            "localhost%evil.example",
            "localhost@evil.example",
            "localhost, evil.example",
            "localhost/evil",
            "[::1]evil",
        ),
        *("0.0.0.0", "0.0.0.0:8377", "[::]", "192.0.2.1", "2130706433", "0x7f.1", "", " ", "[", "\xff"),
    ],
)
def test_another_name_is_refused(host: str) -> None:
    assert refusal_of(DEFAULT, ("host", host)) == "foreign_host"


def test_names_can_be_added() -> None:
    admission = Admission(TOKEN, hosts=read_host_names(["host.docker.internal", "Model:8377", "2001:db8::1"]))
    for host in ("host.docker.internal:8377", "HOST.docker.internal", "model", "[2001:db8::1]:8377"):
        assert refusal_of(admission, ("host", host)) is None
    for host in ("docker.internal", "x.host.docker.internal", "models"):
        assert refusal_of(admission, ("host", host)) == "foreign_host"


@pytest.mark.parametrize("name", ["", "*", "*.example", "http://x", "x/y", "a b", "user@x"])
def test_what_is_no_name_of_a_host_is_told(name: str) -> None:
    with pytest.raises(ConfigError, match="not the name of a host"):
        read_host_names([name])


@pytest.mark.parametrize("hosts", [(), ("localhost", "localhost"), ("localhost", "evil.example")])
def test_a_request_names_its_host_once(hosts: tuple[str, ...]) -> None:
    assert refusal_of(DEFAULT, *[("host", host) for host in hosts]) == "invalid_request"


@pytest.mark.parametrize(
    "origin",
    [
        *(
            "http://evil.example",
            "null",
            "",
            "file://",
            "http://localhost:3000",
            "http://localhost",
            "http://127.0.0.1",
        ),
        *("http://localhost:8377.evil.example", "http://evil.example/localhost:8377", "http://x@localhost:8377"),
        *(
            "chrome-extension://abcdefgh",
            "ftp://localhost:8377",
            "localhost:8377",
            "http://[",
            "http://localhost:83771",
        ),
    ],
)
def test_a_page_of_another_origin_is_refused(origin: str) -> None:
    own = ("origin", "http://localhost:8377")
    assert refusal_of(DEFAULT, ("host", "localhost:8377"), ("origin", origin)) == "foreign_page"
    assert refusal_of(DEFAULT, ("host", "localhost:8377"), own, ("origin", origin)) == "foreign_page"
    assert refusal_of(DEFAULT, ("host", "localhost:8377"), own) is None


@given(st.text(st.characters(max_codepoint=255), max_size=30))
def test_any_text_as_host_or_origin_is_decided_without_an_error(text: str) -> None:
    assert refusal_of(DEFAULT, ("host", "localhost"), ("origin", text)) in ("foreign_page", None)
    assert refusal_of(DEFAULT, ("host", text)) in ("foreign_host", None)


@pytest.mark.parametrize(
    ("site", "refused"),
    [
        ("cross-site", True),
        ("same-site", True),
        ("Cross-Site", True),
        ("", True),
        ("same-origin", False),
        ("none", False),
    ],
)
def test_what_a_browser_says_about_the_page_decides(site: str, refused: bool) -> None:
    code = "foreign_page" if refused else None
    assert refusal_of(DEFAULT, ("host", "localhost"), ("sec-fetch-site", site)) == code


def test_the_token_is_looked_for_wherever_clients_put_their_key() -> None:
    for name, value in {
        "authorization": f"bEaReR {TOKEN}",
        "x-api-key": f"sk-{TOKEN}",
        "api-key": TOKEN,
        "x-goog-api-key": TOKEN,
        "x-aquila-token": TOKEN,
    }.items():
        assert DEFAULT.is_shown(Headers({name: value}))
        for other in (value[:-1], f"{value}x", "", "\xff", TOKEN[1:]):
            assert not DEFAULT.is_shown(Headers({name: other}))
    assert not DEFAULT.is_shown(Headers({"cookie": TOKEN}))


def test_no_representation_shows_the_token() -> None:
    assert TOKEN not in repr(DEFAULT)


def test_a_long_name_is_shortened_in_the_message() -> None:
    refused = DEFAULT.find_rejection(Headers({"host": "x" * 500}))
    assert refused is not None
    assert ("x" * 80 in refused.message, "x" * 81 in refused.message) == (True, False)
