"""``pytest --aquila-verify``: tests see no real key, requests that are sent again have it, and reports never do."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator

import openai  # so that runs within this process do not load it anew each time
import openai.types.chat  # noqa: F401
import pytest

import aquila.verifying.verification  # noqa: F401
from tests.plugin.test_verify import completion, whole
from tests.support.real_hosts import real_hosts
from tests.support.upstream import Answer, Upstream, upstream

KEYS = {
    "OPENAI_API_KEY": "q7Zr2mXv9KpLw4TbN8sYc3Hd6GfJ1aEu",
    "GEMINI_API_KEY": "b8Yt5nWq1JmKv7RcP2xZe6Lg9DhF4sAo",
    "MISTRAL_API_KEY": "k3Vd8sHx6QzMn1WfT5yBj9Rc2GpL7uEi",
}

TESTS = """
    import os
    import httpx, openai, pytest

    MESSAGES = [{"role": "user", "content": "hi"}]
    AT_IMPORT = os.environ.get("OPENAI_API_KEY")

    def ask(**options):
        return openai.OpenAI(max_retries=0, **options).chat.completions.create(model="m", messages=MESSAGES)

    def test_environment(aquila_cassette):
        ask()

    def test_import(aquila_cassette):
        ask(api_key=AT_IMPORT or "none")

    def test_made_up(aquila_cassette):
        ask(api_key="made-up")

    def test_query(aquila_cassette):
        url = "https://generativelanguage.googleapis.com/v1beta/models/g:generateContent"
        httpx.post(url, params={"key": os.environ["GEMINI_API_KEY"]}, json={"contents": []})

    def test_body(aquila_cassette):
        body = {"messages": MESSAGES, "use": {"key": os.environ["MISTRAL_API_KEY"]}}
        httpx.post("https://api.mistral.ai/v1/chat/completions", json=body)

    def test_ask(aquila_cassette):
        import aquila
        aquila.ask("hi", model="m")
"""
"""Each way in which a key gets into a request."""


def answer(path: str, body: bytes) -> Answer:
    return whole(completion("hello"))


@pytest.fixture
def provider(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Iterator[Upstream]:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    pytester.makepyfile(test_app=textwrap.dedent(TESTS))
    with real_hosts("api.openai.com", "generativelanguage.googleapis.com", "api.mistral.ai", script=answer) as provider:
        yield provider


def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return pytester.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:xdist", *arguments)


def keys_sent(provider: Upstream) -> set[str]:
    return {
        name
        for name, value in KEYS.items()
        for (path, body), headers in zip(provider.requests, provider.headers, strict=True)
        if value in f"{path} {body!r} {headers}"
    }


@pytest.mark.slow
def test_requests_have_the_real_keys_and_reports_have_none(
    provider: Upstream, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = run(pytester, "--aquila-record")
    result.assert_outcomes(passed=6)
    recorded = len(provider.requests)
    provider.requests.clear()
    provider.headers.clear()
    result = run(pytester, "--aquila-verify", "--aquila-verify-json=report.json")
    result.assert_outcomes(passed=6)
    assert result.ret == 0, result.stdout.str()
    assert len(provider.requests) == recorded
    assert keys_sent(provider) == set(KEYS)
    assert [headers.get("authorization") for headers in provider.headers].count(f"Bearer {KEYS['OPENAI_API_KEY']}") == 4
    told = result.stdout.str() + (pytester.path / "report.json").read_text()
    assert not any(value[:8] in told for value in KEYS.values())
    provider.script = lambda path, body: whole(
        {"error": {"message": f"Incorrect API key provided: {KEYS['OPENAI_API_KEY']}", "code": "invalid_api_key"}}, 401
    )
    result = run(pytester, "--aquila-verify", "--aquila-verify-json=report.json")
    assert result.ret == 10
    told = result.stdout.str() + (pytester.path / "report.json").read_text()
    assert "401 invalid_api_key: Incorrect API key provided" in told
    assert not any(value[:8] in told for value in KEYS.values())


@pytest.mark.slow
def test_a_missing_key_is_named_by_its_variable(
    provider: Upstream, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(pytester, "--aquila-record").assert_outcomes(passed=6)
    provider.requests.clear()
    monkeypatch.delenv("OPENAI_API_KEY")
    monkeypatch.delenv("GEMINI_API_KEY")
    result = run(pytester, "--aquila-verify", "--aquila-verify-json=report.json")
    result.assert_outcomes(passed=6)
    rows = {
        row["tests"][0].partition("::")[2]: row
        for row in json.loads((pytester.path / "report.json").read_text())["recordings"]
    }
    reasons = {name: row["reason"] for name, row in rows.items()}
    assert reasons["test_environment"] == reasons["test_ask"] == "no key: OPENAI_API_KEY is not set"
    assert reasons["test_query"] == "no key: GEMINI_API_KEY is not set"
    assert rows["test_body"]["result"] == "same"
    assert result.ret == 0


def test_a_key_that_only_the_test_knows_is_not_told_where_a_server_of_this_machine_repeats_it(
    pytester: pytest.Pytester,
) -> None:
    key = "q7Zr2mXv9KpLw4-of-the-test"
    with upstream(lambda path, body: whole(completion("hello"))) as provider:
        pytester.makepyfile(
            test_app=f"""
            import openai

            def test_it(aquila_cassette):
                client = openai.OpenAI(api_key={key!r}, base_url={provider.url + "/v1"!r}, max_retries=0)
                messages = [{{"role": "user", "content": "hi"}}]
                assert client.chat.completions.create(model="m", messages=messages).choices[0].message.content
            """
        )
        run(pytester, "--aquila-record").assert_outcomes(passed=1)
        provider.headers.clear()
        provider.script = lambda path, body: whole({"error": {"message": f"Incorrect API key: {key}."}}, 401)
        result = run(pytester, "--aquila-verify", "--aquila-verify-json=report.json")
        assert provider.headers[0]["authorization"] == f"Bearer {key}"
    told = result.stdout.str() + (pytester.path / "report.json").read_text()
    assert "Incorrect API key: [redacted]." in told
    assert key not in told
