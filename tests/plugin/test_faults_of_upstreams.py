"""Faults of live answers: those of the local model and of a transport."""

from __future__ import annotations

import pytest

import tests.support.preloaded  # noqa: F401

UPSTREAM = """
import httpx2
from aquila.scripting.script import Script
from aquila.cassettes.model import RecordedRequest

ASKED = []

def handle(request):
    ASKED.append(request.content)
    asked = RecordedRequest(request.method, str(request.url), (), request.content)
    answer = Script().reply("one two three four").decide(asked).response
    return httpx2.Response(answer.status, headers=list(answer.headers), content=answer.body)

def transport():
    return httpx2.MockTransport(handle)
"""

HELPERS = """
import asyncio
import openai

ASKED = {"model": "m", "messages": [{"role": "user", "content": "count"}], "max_tokens": 9, "temperature": 0}

def ask(**options):
    client = openai.OpenAI(api_key="no-key", **options)
    return client.chat.completions.create(**ASKED).choices[0].message.content

def ask_async():
    async def within():
        async with openai.AsyncOpenAI(api_key="no-key") as client:
            return await client.chat.completions.create(**ASKED)
    return asyncio.run(within()).choices[0].message.content

def stream():
    for chunk in openai.OpenAI(api_key="no-key").chat.completions.create(stream=True, **ASKED):
        yield chunk.choices[0].delta.content or ""
"""

TESTS = """
import openai, pytest
import aquila
from helpers import ask, ask_async, stream

@pytest.mark.aquila(faults="cut_stream(after=3)")
def test_a_cut():
    got = []
    with pytest.raises(openai.APIError):
        for text in stream():
            got.append(text)
    assert 0 < len("".join(got))
    assert "".join(stream())  # good, now that the fault was met

@pytest.mark.aquila(faults="rate_limit(2)")
def test_a_client_that_tries_again():
    assert ask()

@pytest.mark.aquila(faults="rate_limit(2)")
def test_an_asynchronous_one():
    assert ask_async()

@pytest.mark.aquila(faults="overloaded(times=1)")
def test_ask():
    assert aquila.ask("count", temperature=0, max_output_tokens=10, max_retries=2).text

def test_a_block(aquila_faults):
    with aquila_faults.connection_refused(), pytest.raises(openai.APIConnectionError):
        ask(max_retries=0)
    assert ask()

@pytest.mark.aquila(faults="overloaded(times=1)")
def test_scripted_first(aquila_script):
    aquila_script.when("scripted").reply("by hand")
    assert aquila.ask("scripted", max_retries=2, max_output_tokens=9).text == "by hand"
    assert ask(max_retries=1) not in ("", "by hand")

@pytest.mark.aquila(faults="cut_stream(after=999)")
def test_what_cannot_be():
    assert "".join(stream())
"""


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makepyfile(helpers=HELPERS, upstream=UPSTREAM)
    return pytester


def test_answers_of_a_transport_meet_faults_and_all_attempts_at_a_request_share_one(project: pytest.Pytester) -> None:
    project.makepyfile(
        f"""{TESTS}

@pytest.mark.aquila(faults="rate_limit(2)")
def test_the_transport_is_asked_once():
    import upstream
    upstream.ASKED.clear()
    assert ask() == "one two three four"
    assert len(upstream.ASKED) == 1
    assert ask() == "one two three four"
    assert len(upstream.ASKED) == 2
"""
    )
    result = project.runpytest_inprocess("-p", "no:cacheprovider", "--aquila-transport=upstream:transport")
    result.assert_outcomes(passed=7, failed=1)
    result.stdout.fnmatch_lines(
        ["*no request met the fault cut_stream(after=999)*", "*the stream has * events, so nothing is left after 999"]
    )


@pytest.mark.long(15)
@pytest.mark.local_model
@pytest.mark.slow
def test_answers_of_the_local_model_meet_faults(project: pytest.Pytester) -> None:
    project.makepyfile(TESTS)
    result = project.runpytest_inprocess("-p", "no:cacheprovider", "--aquila-transport=local")
    result.assert_outcomes(passed=6, failed=1)
    assert not (project.path / "cassettes").exists()
