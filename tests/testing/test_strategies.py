"""What Hypothesis is given to break programs with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import hypothesis
import openai
import pytest
from hypothesis import HealthCheck, given, settings

import aquila
from aquila.cassettes.storage.cassette_files import load_cassette
from aquila.errors import CassetteRequired, UnscriptedRequest
from aquila.faults.parsing import read_faults
from aquila.testing import strategies, use_script
from tests.support.runs import separate_run


def stream(text: str = "count") -> str:
    client = openai.OpenAI(api_key="no-key", max_retries=0)
    messages: Any = [{"role": "user", "content": text}]
    chunks = client.chat.completions.create(model="m", messages=messages, stream=True)
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A project with one recorded stream."""
    folder = tmp_path_factory.mktemp("project")
    with separate_run(folder):
        with use_script() as script:
            script.reply("one two three")
            stream()
        (folder / "script.yaml").write_text("script:\n- reply: one two three\n")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AQUILA_SCRIPT", str(folder / "script.yaml"))
            with aquila.use_cassette("counting", transport="record", upstream="script"):
                assert stream() == "one two three"
        yield folder


def simplest(strategy: Any, breaks: Any) -> Any:
    return hypothesis.find(strategy, breaks, settings=settings(max_examples=500, database=None, deadline=None))


def test_faults_can_be_made_of_the_cassette_and_the_simplest_is_found(recorded: Path) -> None:
    interactions = load_cassette(recorded / "cassettes" / "counting.yaml").interactions

    @given(strategies.faults("counting"))
    @settings(max_examples=50, database=None, deadline=None)
    def check(text: str) -> None:
        (fault,) = read_faults(text)
        fault.change(interactions[0])

    check()

    def breaks(text: str) -> bool:
        with aquila.use_cassette("counting", faults=text):
            try:
                return stream() != "one two three"
            except openai.APIError:
                return False

    # A program that takes whatever comes: the first fault that takes something away without an error.
    assert simplest(strategies.faults("counting", among=["rate_limit", "end_early"]), breaks) == "end_early"


def test_other_chunks_say_the_same(recorded: Path) -> None:
    @given(strategies.streams("counting"))
    @settings(max_examples=20, database=None, deadline=None)
    def check(text: str) -> None:
        with aquila.use_cassette("counting", faults=text):
            assert stream() == "one two three"

    check()


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_failing_example_names_the_marker(recorded: Path) -> None:
    @given(strategies.faults("counting", among=["unauthorized"]))
    @settings(max_examples=5, database=None, deadline=None, derandomize=True)
    def check(text: str) -> None:
        with aquila.use_cassette("counting", faults=text):
            stream()

    with pytest.raises(openai.AuthenticationError) as caught:
        check()
    assert '@pytest.mark.aquila("counting", faults="unauthorized")' in caught.value.__notes__


@given(answer=strategies.replies(tools=["search"]))
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_a_model_may_say_is_read_as_it_was_written(answer: dict[str, Any]) -> None:
    with use_script() as script:
        script.reply(**answer)
        client = openai.OpenAI(api_key="no-key")
        whole = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}])
        message = whole.choices[0].message
        assert (message.content or "") == answer["text"]
        calls = [(call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls or ()]
        assert calls == answer["tool_calls"]


def test_a_script_of_a_block_answers_in_it_alone(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("script:\n- reply: one\n")
    with separate_run(tmp_path), use_script(file) as script:
        assert stream() == "one"
        assert script.left == []
        with pytest.raises(UnscriptedRequest):
            stream("more")
    with use_script(faults="unauthorized") as script, pytest.raises(openai.AuthenticationError):
        script.reply("x")
        stream()


def test_what_a_block_was_asked_counts_for_the_test_around_it(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import aquila
        from aquila.testing import use_script

        def test_block(aquila_cassette):
            with use_script() as script:
                script.reply("x")
                assert aquila.ask("hi").text == "x"
        """
    )
    pytester.runpytest_inprocess().stdout.fnmatch_lines(["*0 replayed, 0 recorded, 0 missed, 1 scripted"])


def test_without_recordings_or_with_a_wrong_name_it_says_so(recorded: Path) -> None:
    with pytest.raises(CassetteRequired, match="has no recordings"):
        strategies.faults("none")
    with pytest.raises(ValueError, match="did you mean 'cut_stream'"):
        strategies.faults("counting", among=["cut_strem"])
    with pytest.raises(ValueError, match="did you mean 'cut_stream'"):
        use_script(faults="cut_strem")
