"""A host is known by every spelling of its name: as a provider, as one that is ignored, and as this machine."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aquila.cassettes.matching.match_rules import MatchRules
from aquila.cassettes.model import RecordedRequest
from aquila.recording.network.host_names import is_loopback, normalize_host
from aquila.recording.network.model_hosts import (
    MODEL_HOSTS,
    asks_model,
    is_listed,
    is_prompt,
    is_provider,
    is_url_of_model,
)
from aquila.recording.sessions.session_factory import takes_other_origins
from aquila.settings import Settings

NAMED = sorted(name for name in MODEL_HOSTS if "*" not in name)
DOTS = (".", "\u3002", "\uff0e", "\uff61")
INVISIBLE = ("\u00ad", "\u200b", "\u2060", "\ufe00")


def respellings(name: str) -> st.SearchStrategy[str]:
    """Spellings that resolve as a name does: wide and capital letters, other dots, invisible characters, a last dot."""

    def spell(letter: str) -> st.SearchStrategy[str]:
        if letter == ".":
            return st.sampled_from(DOTS)
        forms = st.sampled_from([letter, letter.upper(), chr(ord(letter) + 0xFEE0), chr(ord(letter.upper()) + 0xFEE0)])
        return st.tuples(forms, st.sampled_from(["", "", "", *INVISIBLE])).map("".join)

    spelt = st.tuples(*map(spell, name)).map("".join)
    return st.tuples(spelt, st.sampled_from(["", *DOTS])).map("".join)


@given(st.sampled_from(NAMED).flatmap(lambda name: st.tuples(st.just(name), respellings(name))))
def test_a_provider_is_known_by_every_spelling_of_its_name(drawn: tuple[str, str]) -> None:
    name, spelt = drawn
    assert normalize_host(spelt) == name
    assert is_provider(spelt, 443, Settings())


@pytest.mark.parametrize(
    "host",
    [
        "api-inference.together.ai", "agent.deepgram.com", "api.eu.mistral.ai", "api.us.elevenlabs.io",
        "api.eu.residency.elevenlabs.io", "api.eu.assemblyai.com", "streaming.eu.assemblyai.com",
        "tts.us.assemblyai.com", "api.letta.com", "us-east-1.api.x.ai", "api-atlas.nomic.ai", "api.portkey.ai",
    ],
)  # fmt: skip
def test_the_other_hosts_of_a_provider_are_known(host: str) -> None:
    assert is_provider(host, 443, Settings())


@given(st.integers(min_value=0, max_value=2**32 - 1))
def test_an_address_is_known_by_every_spelling(number: int) -> None:
    a, b, c, d = number.to_bytes(4, "big")
    plain = f"{a}.{b}.{c}.{d}"
    spellings = [
        str(number),
        hex(number),
        f"0{number:o}",
        f"{a}.{number & 0xFFFFFF}",
        f"{a}.{b}.{number & 0xFFFF}",
        f"{a:#x}.{b:#x}.{c:#x}.{d:#x}",
        f"0{a:o}.0{b:o}.0{c:o}.0{d:o}",
        f"::ffff:{plain}",
        f"[::FFFF:{number >> 16:x}:{number & 0xFFFF:x}]",
        f"0:0:0:0:0:ffff:{plain}",
        plain.translate({digit: digit + 0xFEE0 for digit in b"0123456789"}),
    ]
    assert {normalize_host(each) for each in spellings} == {plain}
    settings = Settings(providers=(plain,))
    assert all(is_provider(each, 443, settings) for each in spellings)


@given(st.text(max_size=30))
@example("0\0")
@example("::\0")
def test_any_text_has_one_spelling(host: str) -> None:
    once = normalize_host(host)
    assert normalize_host(once) == once


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "LOCALHOST.", "api.localhost", "\uff4cocalhost", "127.0.0.1", "127.1", "2130706433", "0x7f.1",
        "017700000001", "::1", "[::1]", "0:0:0:0:0:0:0:1", "::1%lo", "::ffff:127.0.0.1", "::ffff:7f00:1", "0.0.0.0",
        "0", "::", "",
    ],
)  # fmt: skip
def test_this_machine_is_known_by_every_spelling(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["example.org", "127.0.0.1.example", "localhost.example", "128.0.0.1", "::2", "1.27.0.0"]
)
def test_another_machine_is_not_taken_for_this_one(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize("listed", ["localhost:4000", "127.0.0.1:4000", "[::1]:4000", "0x7f.1:4000", "LocalHost.:4000"])
@pytest.mark.parametrize("asked", ["localhost", "127.0.0.1", "::1", "127.1", "0.0.0.0", "::ffff:127.0.0.1"])
def test_a_proxy_of_this_machine_that_is_listed_is_a_provider_by_any_name(listed: str, asked: str) -> None:
    settings = Settings(providers=(listed,))
    assert is_provider(asked, 4000, settings)
    assert not is_provider(asked, 5000, settings)
    assert not is_provider("example.org", 4000, settings)


@pytest.mark.parametrize(
    ("pattern", "host"),
    [
        ("B\u00fccher.example", "xn--bcher-kva.example"),
        ("b\u00fccher.example", "B\u00dcCHER.example."),
        ("10.0.0.5", "0xa.5"),
        ("*.Internal", "db.INTERNAL."),
        ("[2001:DB8::1]:443", "2001:db8:0::1"),
    ],
)
def test_a_host_that_a_project_lists_may_be_spelt_in_any_way(pattern: str, host: str) -> None:
    assert is_listed(host, 443, (pattern,))


def test_the_base_url_in_force_may_be_spelt_in_any_way() -> None:
    assert is_provider("LLM.corp.example.", 443, Settings(base_url="https://llm.Corp.example/v1"))


@pytest.mark.parametrize("base_url", ["http://[::1/v1", "https://[host]/v1", "llm.corp.example/v1", "https:///v1"])
def test_a_base_url_that_is_no_url_makes_no_host_a_provider(base_url: str) -> None:
    assert not is_provider("example.org", 443, Settings(base_url=base_url))
    assert is_provider("api.openai.com", 443, Settings(base_url=base_url))


@pytest.mark.parametrize(
    ("host", "path", "expected"),
    [
        ("api.openai.com", "/dashboard", True),
        ("example.org", "/v1/chat/completions", True),
        ("127.0.0.1", "/v1/chat/completions", True),
        ("example.org", "/v1/files", False),
        ("127.0.0.1", "/", False),
    ],
)
def test_a_request_is_for_a_model_by_its_host_or_by_its_path(host: str, path: str, expected: bool) -> None:
    assert asks_model(host, 443, path, Settings()) is expected


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("POST", "/v1/chat/completions", True),
        ("POST", "/v2/generate?stream=1", True),
        ("POST", "/v1beta/models/gemini-9:generateContent", True),
        ("POST", "/v1/responses", True),
        ("POST", "/v1/messages", True),
        ("POST", "/v1/embeddings", True),
        ("POST", "/v1beta/models/g:streamGenerateContent?alt=sse", True),
        ("POST", "/openai/deployments/d/chat/completions", True),
        ("POST", "/model/m/converse", True),
        ("POST", "/client/v4/accounts/a1/ai/run/@cf/meta/llama-3.1-8b-instruct", True),
        ("POST", "/api/chat", True),
        ("POST", "/v2/chat", True),
        ("GET", "/v1/chat/completions", False),
        ("POST", "/v1/files", False),
        ("POST", "/v1/responses/resp_1/cancel", False),
        ("POST", "/v1/messages/count_tokens", False),
        ("GET", "/v1/models", False),
        ("DELETE", "/v1/responses/resp_1", False),
        ("POST", "/v1/batches", False),
        ("POST", "/v1/messages/batches", False),
        ("POST", "/v1/fine_tuning/jobs", False),
        ("POST", "/v1/vector_stores", False),
        ("POST", "/v1/assistants", False),
    ],
)
def test_a_prompt_is_told_from_other_requests_to_a_provider(method: str, path: str, expected: bool) -> None:
    assert is_prompt(method, path) is expected


@pytest.mark.parametrize(
    ("url", "is_asked"),
    [
        ("https://gateway.example/chat", True),
        ("https://gateway.example:443/chat", True),
        ("http://gateway.example/chat", False),
        ("https://gateway.example:8443/chat", False),
    ],
)
def test_a_listed_provider_with_the_usual_port_is_known_by_a_url_without_port(url: str, is_asked: bool) -> None:
    settings = Settings(providers=("gateway.example:443",))
    assert is_url_of_model(url, settings) == is_asked
    request = RecordedRequest("POST", url)
    assert takes_other_origins(request, MatchRules(), settings) == is_asked
