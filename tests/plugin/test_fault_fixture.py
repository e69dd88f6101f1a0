"""Faults of a test: by the marker and by ``aquila_faults``, for recorded and for scripted answers."""

from __future__ import annotations

import pytest

import tests.support.preloaded  # noqa: F401

UPSTREAM = """
import httpx2
from aquila.scripting.script import Script
from aquila.cassettes.model import RecordedRequest

def handle(request):
    if request.method == "GET":
        return httpx2.Response(200, json={"degrees": 18})
    asked = RecordedRequest(request.method, str(request.url), (), request.content)
    answer = Script().reply("one two three four").decide(asked).response
    return httpx2.Response(answer.status, headers=list(answer.headers), content=answer.body)

def transport():
    return httpx2.MockTransport(handle)
"""

HELPERS = """
import openai

def client(**options):
    return openai.OpenAI(api_key="no-key", **options)

def ask(**options):
    messages = [{"role": "user", "content": "count"}]
    return client(**options).chat.completions.create(model="m", messages=messages).choices[0].message.content

def stream(**options):
    messages = [{"role": "user", "content": "count"}]
    for chunk in client(**options).chat.completions.create(model="m", messages=messages, stream=True):
        yield chunk.choices[0].delta.content or ""
"""


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makepyfile(helpers=HELPERS, upstream=UPSTREAM)
    return pytester


RECORD = ("--aquila-record", "--aquila-upstream=upstream:transport")


@pytest.mark.slow
def test_an_answer_meets_its_fault_as_often_as_it_says_and_is_good_then(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import openai, pytest
        from helpers import ask, client, stream

        @pytest.mark.aquila("counting", faults="cut_stream(after=3)")
        def test_a_cut():
            got = []
            with pytest.raises(openai.APIError):
                got += iter(stream())
            assert "".join(stream()) == "one two three four"

        @pytest.mark.aquila("counting", faults="rate_limit(times=2, retry_after=30)")
        def test_retries_cost_no_time_and_the_field_is_there():
            assert ask() == "one two three four"
            with pytest.raises(openai.RateLimitError) as caught:
                "".join(stream(max_retries=0))
            assert caught.value.response.headers["retry-after"] == "30"

        @pytest.mark.aquila("counting", faults="unauthorized(times=None)")
        def test_for_ever():
            for _ in range(3):
                with pytest.raises(openai.AuthenticationError):
                    ask()

        @pytest.mark.aquila("counting")
        def test_blocks(aquila_faults, aquila_cassette):
            with aquila_faults.overloaded(times=3) as plan, pytest.raises(openai.InternalServerError):
                ask()
            assert plan.met == 3
            with aquila_faults("connection_reset, timeout") as plan:
                assert ask(timeout=300) == "one two three four"
            assert plan.met == 2
            assert "".join(stream()) == "one two three four"
            assert aquila_cassette.all_played
            with pytest.raises(AttributeError, match="did you mean 'cut_stream'"):
                aquila_faults.cut_strem()
            with pytest.raises(ValueError, match="unknown parameter 'aftr'"):
                aquila_faults.cut_stream(aftr=3)

        def test_scripts(aquila_script, aquila_faults):
            aquila_script.reply("one two").reply("three")
            with aquila_faults.stall(after=2), pytest.raises(openai.APITimeoutError):
                "".join(stream(timeout=300, max_retries=0))
            with aquila_faults.truncated_json(), pytest.raises(ValueError):
                ask()
            assert ["".join(stream()), ask()] == ["one two", "three"]
            assert len(aquila_script.requests) == 4
        """,
    )
    project.makepyfile(
        test_first="""
        import pytest
        from helpers import ask, stream

        @pytest.mark.aquila("counting")
        def test_record():
            assert [ask(), "".join(stream())] == ["one two three four"] * 2
        """
    )
    project.runpytest_inprocess(*RECORD, "test_first.py").assert_outcomes(passed=1)
    cassette = (project.path / "cassettes" / "counting.yaml").read_bytes()
    for options in ((), RECORD):
        result = project.runpytest_inprocess(*options, "-k", "not test_record")
        result.assert_outcomes(passed=5, deselected=1)
    assert (project.path / "cassettes" / "counting.yaml").read_bytes() == cassette


def test_a_fault_that_nothing_meets_or_that_cannot_be_fails_the_test(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import pytest
        from helpers import ask, stream

        @pytest.mark.aquila(faults="rate_limit(times=2)")
        def test_recorded_later(aquila_cassette):
            assert ask() == "one two three four"

        def test_no_request(aquila_script, aquila_faults):
            with aquila_faults.overloaded():
                pass

        @pytest.mark.aquila(faults="overloaded")
        def test_no_request_at_all():
            pass

        def test_impossible(aquila_script, aquila_faults):
            aquila_script.unused = "ignore"
            aquila_script.reply("x")
            with aquila_faults.cut_stream(after=50):
                try:
                    list(stream())
                except Exception:
                    pass

        def test_nothing_ends_the_silence(aquila_script, aquila_faults):
            aquila_script.unused = "ignore"
            aquila_script.reply("x")
            with aquila_faults.timeout():
                ask(timeout=None)
        """
    )
    result = project.runpytest_inprocess(*RECORD, "-o", "aquila_silence=0.1")
    result.assert_outcomes(failed=5)
    result.stdout.fnmatch_lines(
        [
            "no request met the fault rate_limit(times=2)",
            "The good answer is recorded now, so run it once more",
            "E *FaultFailed: no request met the fault overloaded",
            "no request met the fault overloaded",
            "*cut_stream(after=50): the stream has 4 events, so nothing is left after 50",
            "E *FaultFailed: *nothing ended the silence of the fault timeout: the program has waited for 0.1 s*",
        ]
    )
    result = project.runpytest_inprocess("-k", "recorded_later")
    result.assert_outcomes(passed=1, deselected=4)


def test_what_is_wrong_with_a_fault_fails_its_test_alone(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import pytest
        from helpers import stream

        @pytest.mark.aquila("counting")
        def test_record():
            assert "".join(stream()) == "one two three four"
        """
    )
    project.runpytest_inprocess(*RECORD).assert_outcomes(passed=1)
    project.makepyfile(
        test_wrong="""
        import openai, pytest
        from helpers import stream

        @pytest.mark.aquila(faults="cut_strem(after=3)")
        def test_name(): pass

        @pytest.mark.aquila("counting", faults="cut_stream(after=50)")
        def test_impossible(): pass

        @pytest.mark.aquila("counting", faults="cut_stream(after=3)")
        def test_possible():
            with pytest.raises(openai.APIConnectionError):
                list(stream())

        @pytest.mark.aquila("counting", faults="cut_stream(after=8)")
        def test_possible_for_the_script_alone(aquila_script):
            aquila_script.reply("one two three four five six seven eight nine")
            with pytest.raises(openai.APIConnectionError):
                list(stream())
            list(stream())
        """
    )
    result = project.runpytest_inprocess()
    result.assert_outcomes(errors=2, passed=3)
    result.stdout.fnmatch_lines(
        [
            "ConfigError: *::test_name: unknown fault 'cut_strem'; did you mean 'cut_stream'?",
            "ConfigError: *::test_impossible: cut_stream(after=50): the stream has 7 events, so nothing is left *",
        ]
    )
    assert "fault_check.py" not in result.stdout.str()


def test_a_fault_applies_only_to_answers_that_can_have_it(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import httpx2, openai, pytest
        from helpers import ask, stream

        @pytest.mark.aquila("all", unplayed="fail")
        def test_record(aquila_cassette):
            assert [ask(), "".join(stream())] == ["one two three four"] * 2
            assert httpx2.get("https://weather.example/rome").status_code == 200

        @pytest.mark.aquila("all", faults=["dropped_event(at=1)", "cut_stream(after=2)"])
        def test_only_the_stream_has_events(aquila_cassette):
            assert ask(max_retries=0) == "one two three four"
            assert "".join(stream()) == "one two three four"
            with pytest.raises(openai.APIError):
                "".join(stream())

        @pytest.mark.aquila(cassette="all", faults="connection_refused(times=None)")
        def test_only_models_fail(aquila_cassette):
            for call in (ask, lambda **given: list(stream(**given))):
                with pytest.raises(openai.APIConnectionError):
                    call(max_retries=0)
            assert httpx2.get("https://weather.example/rome").status_code == 200
            assert aquila_cassette.all_played

        @pytest.mark.aquila("all", faults="cut_stream(after=2), rate_limit")
        def test_each_of_several_is_to_be_met(aquila_cassette):
            with pytest.raises(openai.APIError):
                "".join(stream())
        """
    )
    result = project.runpytest_inprocess(*RECORD, "-k", "record")
    result.assert_outcomes(passed=1, deselected=3)
    result = project.runpytest_inprocess("-k", "not record")
    result.assert_outcomes(passed=2, failed=1, deselected=1)
    result.stdout.fnmatch_lines(["no request met the fault rate_limit"])


CHILD = """
import sys
from helpers import ask

def main(times=1):
    for _ in range(times):
        try:
            print(ask(max_retries=0))
        except Exception as error:
            print(type(error).__name__)

if __name__ == "__main__":
    main(int(sys.argv[1]))
"""


@pytest.mark.long(15)
@pytest.mark.slow
def test_other_processes_meet_the_faults_of_their_test(project: pytest.Pytester) -> None:
    project.makepyfile(
        child=CHILD,
        test_processes="""
        import multiprocessing, subprocess, sys
        import aquila, pytest
        from child import main
        from helpers import ask

        def run(times):
            done = subprocess.run([sys.executable, "child.py", str(times)], capture_output=True, text=True)
            assert not done.stderr
            return done.stdout.splitlines()

        @pytest.mark.aquila("counting")
        def test_record():
            assert ask() == "one two three four"

        @pytest.mark.aquila("counting", faults="overloaded(times=2)")
        def test_a_program():
            assert run(3) == ["InternalServerError", "InternalServerError", "one two three four"]

        @pytest.mark.aquila("counting", faults="overloaded(times=None)")
        def test_a_program_within_a_block():
            with aquila.use_cassette("counting"):
                assert run(1) == ["InternalServerError"]

        @pytest.mark.aquila("counting")
        def test_programs_before_within_and_after_blocks(aquila_faults):
            with aquila_faults.overloaded():
                assert run(1) == ["InternalServerError"]
            with aquila_faults.overloaded():
                assert run(1) == ["InternalServerError"]
            assert run(1) == ["one two three four"]

        @pytest.mark.aquila("counting", faults="overloaded")
        def test_a_fork():
            child = multiprocessing.get_context("fork").Process(target=main)
            child.start()
            child.join()
            assert child.exitcode == 0

        @pytest.mark.aquila("counting", faults="overloaded")
        def test_nobody():
            pass
        """,
    )
    project.runpytest_inprocess(*RECORD, "-k", "record").assert_outcomes(passed=1, deselected=5)
    result = project.runpytest_inprocess("-k", "not record", "-W", "ignore::DeprecationWarning")
    result.assert_outcomes(passed=4, failed=1, deselected=1)
    result.stdout.fnmatch_lines(["no request met the fault overloaded"])


def test_a_passing_test_with_faults_stores_what_it_records(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import pytest
        from helpers import ask, client

        @pytest.mark.aquila(faults="one_byte")
        def test_more_than_faults(aquila_script, aquila_cassette):
            aquila_script.when("scripted").reply("by hand")
            messages = [{"role": "user", "content": "scripted"}]
            answer = client().chat.completions.create(model="m", messages=messages)
            assert [answer.choices[0].message.content, ask()] == ["by hand", "one two three four"]
        """
    )
    for options in (RECORD, ("--aquila-record=all", RECORD[1])):
        result = project.runpytest_inprocess(*options)
        result.assert_outcomes(passed=1)
        assert not [*project.path.glob("cassettes/**/*.pending.yaml")]
