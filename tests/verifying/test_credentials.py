"""The machine's keys in requests that are sent again."""

from __future__ import annotations

import pytest

from aquila.cassettes.model import RecordedRequest
from aquila.intercept.provider_keys import PROVIDER_KEYS
from aquila.recording.network.model_hosts import PROVIDER_HOSTS
from aquila.verifying.credentials import KeyNotSet, SignedRequest, VerifyingKeys, variables_of_host, with_keys

MACHINE = VerifyingKeys(
    {
        "OPENAI_API_KEY": "open-q7Zr2mXv9KpLw4TbN8sY",
        "ANTHROPIC_API_KEY": "anth-b8Yt5nWq1JmKv7RcP2xZ",
        "ROUTER_KEY": "rout-k3Vd8sHx6QzMn1WfT5yB",
    },
    {"rt-not-a-key": "ROUTER_KEY"},
)
OPENAI, ANTHROPIC, OTHER = "https://api.openai.com", "https://api.anthropic.com", "https://gateway.example"
OPEN, ANTH, ROUT = MACHINE.keys.values()


def sent(url: str, *headers: tuple[str, str], body: bytes = b"") -> RecordedRequest:
    return RecordedRequest("POST", url, headers, body)


@pytest.mark.parametrize(
    ("url", "header", "value", "expected"),
    [
        (OPENAI, "authorization", "Bearer OPENAI_API_KEY.aquila-no-key", f"Bearer {OPEN}"),
        (OPENAI, "authorization", "Bearer aquila-no-key", f"Bearer {OPEN}"),
        (OTHER, "authorization", "Bearer ROUTER_KEY.aquila-no-key", f"Bearer {ROUT}"),
        (OTHER, "authorization", "Bearer rt-not-a-key", f"Bearer {ROUT}"),
        (OTHER, "authorization", "Bearer aquila-no-key", f"Bearer {OPEN}"),
        (OTHER, "x-api-key", "aquila-no-key", ANTH),
        (ANTHROPIC, "x-api-key", "made-up", ANTH),
        (OPENAI, "authorization", "Bearer sk-test", f"Bearer {OPEN}"),
        (OPENAI, "authorization", f"Bearer {ROUT}", f"Bearer {ROUT}"),  # a real one stays
        (OTHER, "authorization", "Bearer sk-test", "Bearer sk-test"),  # a key goes to nobody by itself
        ("https://api.openai.com.evil.example", "authorization", "Bearer sk-test", "Bearer sk-test"),
        (OPENAI, "cookie", "session=1", "session=1"),
        (OPENAI, "accept", "aquila-no-key", "aquila-no-key"),
    ],
)
def test_the_right_key_replaces_each_dummy(url: str, header: str, value: str, expected: str) -> None:
    assert with_keys(sent(url, (header, value)), MACHINE, needs_key=True).headers == ((header, expected),)


def test_dummies_in_urls_and_bodies_are_replaced_too() -> None:
    request = sent(f"{OTHER}/x?key=ROUTER_KEY.aquila-no-key", body=b'{"use": "ROUTER_KEY.aquila-no-key", "x": "\xff"}')
    asked = with_keys(request, MACHINE, needs_key=True)
    assert asked.url == f"{OTHER}/x?key={ROUT}"
    assert asked.body == b'{"use": "%s", "x": "\xff"}' % ROUT.encode()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (OPENAI, ("authorization", f"Bearer {OPEN}")),
        (ANTHROPIC, ("x-api-key", ANTH)),
    ],
)
def test_a_stored_request_gets_the_header_of_its_provider(url: str, expected: tuple[str, str]) -> None:
    assert with_keys(sent(url), MACHINE, needs_key=True, is_stored=True).headers == (expected,)
    assert with_keys(sent(url), MACHINE, needs_key=True).headers == ()


@pytest.mark.parametrize(
    ("url", "value", "variable"),
    [
        ("https://api.mistral.ai", "Bearer MISTRAL_API_KEY.aquila-no-key", "MISTRAL_API_KEY"),
        ("https://generativelanguage.googleapis.com", "aquila-no-key", "GOOGLE_API_KEY or GEMINI_API_KEY"),
        (OTHER, "Bearer SOME_KEY.aquila-no-key", "SOME_KEY"),
    ],
)
def test_a_missing_key_is_named(url: str, value: str, variable: str) -> None:
    request = sent(url, ("authorization", value))
    with pytest.raises(KeyNotSet, match=f"{variable} is not set"):
        with_keys(request, MACHINE, needs_key=True)
    assert with_keys(request, MACHINE, needs_key=False) == request


def test_a_server_of_this_machine_needs_no_key() -> None:
    request = sent("http://127.0.0.1:1234", ("authorization", "Bearer SOME_KEY.aquila-no-key"))
    assert with_keys(request, MACHINE, needs_key=True) == request


def test_a_signed_request_is_not_sent() -> None:
    signed = ("authorization", "AWS4-HMAC-SHA256 Credential=aquila-no-key/20260101/us-east-1/bedrock/aws4_request")
    with pytest.raises(SignedRequest):
        with_keys(sent("https://bedrock-runtime.us-east-1.amazonaws.com", signed), MACHINE, needs_key=True)


def test_hosts_of_providers_are_mapped_to_their_variables() -> None:
    assert variables_of_host("x.openai.azure.com") == PROVIDER_KEYS["azure"]
    assert variables_of_host("api.x.ai") == PROVIDER_KEYS["xai"]
    assert variables_of_host("us-south.ml.cloud.ibm.com") == PROVIDER_KEYS["watsonx"]
    assert variables_of_host("router.huggingface.co") == ("HF_TOKEN",)
    assert variables_of_host("example.com") == variables_of_host("openai.example.com") == ()
    assert PROVIDER_KEYS.keys() - PROVIDER_HOSTS.keys() == set(), "a provider has one name in both tables"


def test_repr_shows_no_key() -> None:
    assert OPEN not in repr(MACHINE)
