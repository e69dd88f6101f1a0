"""Providers that fail: the error names the provider and its answer, which is recorded, and good recordings stay."""

from __future__ import annotations

import re

import pytest

from tests.bad_input.conftest import KEY, Project, says
from tests.support.provider import chat_stream
from tests.support.server import Answer, json_answer
from tests.support.slow import slow_but

PAGE = b"<!DOCTYPE html><html><body>Welcome to the guest network. Please log in.</body></html>"
STREAM = chat_stream("Hello", " there.")


def error(message: str, code: str, status: int) -> Answer:
    return json_answer({"error": {"message": message, "type": code, "code": code}}, status, retry_after_ms="1")


ANSWERS: dict[str, tuple[Answer, str, str]] = {
    "401": (
        error(f"Incorrect API key provided: {KEY}.", "invalid_api_key", 401),
        "AuthenticationError",
        r"answered 401: Incorrect API key provided: .*Check the API key: OPENAI_API_KEY, or api_key=",
    ),
    "404": (
        error("The model `gpt-9` does not exist.", "model_not_found", 404),
        "BadRequest",
        r"answered 404: The model `gpt-9` does not exist",
    ),
    "429": (
        error("You exceeded your current quota.", "insufficient_quota", 429),
        "RateLimited",
        r"answered 429: You exceeded your current quota\. \(insufficient_quota\)\. Wait and try again, or raise",
    ),
    "500": (
        error("The server had an error.", "server_error", 500),
        "ProviderUnavailable",
        r"answered 500: The server had an error\..*The same request may succeed later",
    ),
    "502 with HTML": (
        Answer([PAGE], 502, "text/html", {"retry-after-ms": "1"}),
        "ProviderUnavailable",
        r"answered 502: an HTML page instead of JSON",
    ),
    "HTML": (
        Answer([PAGE], 200, "text/html"),
        "InvalidAnswer",
        r"answered 200 with text/html: an HTML page instead of JSON \(is base_url= right\?\)",
    ),
    "empty": (
        Answer([], 200, "application/json"),
        "InvalidAnswer",
        r"answered 200 with application/json: no body",
    ),
    "broken JSON": (Answer([b'{"id": "chatcmpl-1", "choi'], 200, "application/json"), "InvalidAnswer", r"answered 200"),
    "closed in mid-stream": (
        Answer([STREAM[: len(STREAM) // 2]], broken=True),
        "StreamBroken",
        r"ended in mid-stream",
    ),
}


FAILING = pytest.mark.parametrize("failing", slow_but(["429", "HTML", "closed in mid-stream"], ANSWERS), indirect=True)


@pytest.fixture
def failing(request: pytest.FixtureRequest, project: Project) -> tuple[Project, str, str]:
    """The project with a provider that fails, the class of the error, and a part of its text."""
    answer, kind, message = ANSWERS[request.param]
    project.provider = lambda seen: answer
    return project, kind, message


@FAILING
def test_an_error_names_the_provider_and_what_it_answered(failing: tuple[Project, str, str]) -> None:
    project, kind, message = failing
    project.write("answer(max_retries=0)")
    output = re.sub(r"\nE +", " ", project.fails("--aquila-record", "--tb=long"))
    assert f"aquila.errors.{kind}: " in output
    assert re.search(message, output, re.S)
    assert "127.0.0.1" in output
    assert len(project.asked) == 1


@FAILING
def test_an_error_never_replaces_a_good_recording(failing: tuple[Project, str, str]) -> None:
    project, kind, _ = failing
    failure = project.provider
    project.provider = lambda seen: says("Hello there.")
    project.write("assert answer(max_retries=0) == 'Hello there.'")
    project.passes("--aquila-record")
    before = project.cassette.read_bytes()
    project.provider = failure
    output = project.fails("--aquila-record=all")
    assert kind in output
    assert project.cassette.read_bytes() == before
    assert "test_it.pending.yaml" in output
    assert KEY not in project.cassette.with_name("test_it.pending.yaml").read_text()
    project.passes()
    assert len(project.asked) == 2


@FAILING
def test_an_expected_error_is_recorded_and_replays_as_the_same_error(failing: tuple[Project, str, str]) -> None:
    project, kind, _ = failing
    project.write(
        f"""
        with pytest.raises(aquila.errors.{kind}) as caught:
            answer()
        print("message:", caught.value)
        """
    )
    recorded = project.passes("--aquila-record", "-s", "--aquila-replay-timing=instant")
    asked = len(project.asked)
    replayed = project.passes("-s")
    assert re.findall("message: .*", recorded) == re.findall("message: .*", replayed) != []
    assert len(project.asked) == asked
    assert KEY not in project.cassette.read_text()


def test_chunks_before_a_broken_connection_are_recorded(project: Project) -> None:
    project.provider = lambda seen: Answer([STREAM[: STREAM.index(b" there")]], broken=True)
    project.write(
        """
        texts = []
        with pytest.raises(aquila.errors.StreamBroken), aquila.stream("Say hello.") as stream:
            for event in stream:
                texts += [event.text] if isinstance(event, aquila.Chunk) else []
        assert texts == ["Hello"]
        """
    )
    project.passes("--aquila-record")
    project.passes()
    assert len(project.asked) == 1


def test_only_the_final_answer_of_a_provider_that_recovers_is_recorded(project: Project) -> None:
    """The refusal is not kept, so that the replay does not repeat the wait."""
    answers = iter([json_answer({"error": {"message": "slow down"}}, 429, retry_after_ms="1"), says("Hello there.")])
    project.provider = lambda seen: next(answers)
    project.write("assert answer() == 'Hello there.'")
    project.passes("--aquila-record")
    project.passes()
    assert len(project.asked) == 2
    assert "slow down" not in project.cassette.read_text()


def test_a_provider_that_is_not_there_is_named(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    project.write("answer(max_retries=0)")
    output = project.fails("--aquila-record")
    assert "ConnectionFailed" in output
    assert "127.0.0.1:9" in output
    assert not project.cassette.exists()
