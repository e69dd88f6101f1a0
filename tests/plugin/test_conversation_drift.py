"""A drift in the middle of a conversation: a second attempt sends it anew, and replays everything else."""

from __future__ import annotations

import pytest

from tests.support.slow import slow_but
from tests.support.stateful_project import StatefulProject

pytest.importorskip("openai")
pytest.importorskip("httpcore2")  # loaded now: two threads of a test that load it at once disturb each other

CONVERSATION = """
    def test_it(aquila_cassette):
        ask_plainly("What is an owl?")
        assert converse("What is an eagle?", "a bird", "it is large") == "done after 2"
        ask_plainly("What is a heron?")
"""
DRIFTED = CONVERSATION.replace("it is large", "it is very large")


def test_a_drifted_conversation_is_recorded_anew_from_its_beginning_and_nothing_else_is(
    stateful: StatefulProject,
) -> None:
    stateful.record(CONVERSATION).assert_outcomes(passed=1)
    before, count = stateful.recordings(), len(stateful.server.seen)
    assert len(before) == count == 5
    stateful.api.restart()

    result = stateful.record(DRIFTED)
    assert result.parseoutcomes() == {"passed": 1, "rerun": 1}
    assert stateful.api.refused == []
    assert stateful.server.seen[count].json["input"] == "What is an eagle?"
    assert len(stateful.server.seen) == count + 3
    result.stdout.fnmatch_lines(
        [
            "aquila: test_app.py::test_it ran twice: a conversation was recorded anew from its beginning, because in "
            "its middle input[[]0].output *differ* from recording 4 of cassettes/test_app/test_it.yaml",
            "aquila: 2 replayed, 3 recorded, 0 missed*",
        ]
    )

    after = stateful.recordings()
    assert len(after) == 5
    assert (after[0], after[4]) == (before[0], before[4])
    assert after[1].request == before[1].request
    assert all(after[number].response != before[number].response for number in (1, 2, 3))
    assert not list(stateful.path().parent.glob("*.pending.yaml"))
    assert not list((stateful.pytester.path / "cassettes" / ".journal").glob("*.journal"))
    stateful.replays()
    assert stateful.record().parseoutcomes() == {"passed": 1}
    assert len(stateful.server.seen) == count + 3


@pytest.mark.slow
def test_a_drift_in_the_server_of_a_fixture_fails_the_test_that_asked(stateful: StatefulProject) -> None:
    tests = """
        import subprocess, sys
        PROGRAM = "import sys, app; [print(app.converse(*line.strip().split('|')), flush=True) for line in sys.stdin]"

        @pytest.fixture(scope="session")
        def server():
            pipe = subprocess.PIPE
            with subprocess.Popen([sys.executable, "-c", PROGRAM], stdin=pipe, stdout=pipe, text=True) as program:
                yield program

        def test_asks(server):
            print("What is an eagle?|a bird|it is large", file=server.stdin, flush=True)
            server.stdout.readline()

        def test_does_not_ask(server):
            pass
        """
    stateful.record(tests).assert_outcomes(passed=2)
    stateful.api.restart()
    result = stateful.record(tests.replace("is large", "is very large"))
    result.assert_outcomes(passed=1, failed=1)
    command = "*  pytest test_app.py::test_asks --aquila-record=all"
    result.stdout.fnmatch_lines([command, "FAILED test_app.py::test_asks - ConversationDrifted: *"])
    result.stdout.no_fnmatch_line("*runs once more*")


BY_A_LIBRARY = """
    import LIBRARY as library

    def test_it(aquila_cassette):
        def ask(**body):
            answer = library.post(URL + "/responses", json={"model": "m", "tools": TOOLS, **body})
            assert answer.status_code == 200
            return answer.json()
        answer = ask(input="What is an eagle?")
        for output in ("a bird", "it is large"):
            result = {"type": "function_call_output", "call_id": "any", "output": output}
            answer = ask(input=[result], previous_response_id=answer["id"])
        assert answer["output"][0]["content"][0]["text"] == "done after 2"
    """
KINDS = {
    "stream": """
        def test_it(aquila_cassette):
            client = make_client()
            def ask(make, *arguments):
                with make(client, *arguments, stream=True) as events:
                    return list(events)[-1].response
            answer = ask(begin, "What is an eagle?")
            for output in ("a bird", "it is large"):
                answer = ask(go_on, answer, output)
            assert answer.output_text == "done after 2"
        """,
    "async": """
        import asyncio

        def test_it(aquila_cassette):
            async def converse():
                async with openai.AsyncOpenAI(base_url=URL, api_key="not needed") as client:
                    answer = await begin(client, "What is an eagle?")
                    for output in ("a bird", "it is large"):
                        answer = await go_on(client, answer, output)
                    return answer.output_text
            assert asyncio.run(converse()) == "done after 2"
        """,
    "anyio": """
        @pytest.fixture
        def anyio_backend():
            return "asyncio"

        @pytest.mark.anyio
        async def test_it(aquila_cassette):
            async with openai.AsyncOpenAI(base_url=URL, api_key="not needed") as client:
                answer = await begin(client, "What is an eagle?")
                for output in ("a bird", "it is large"):
                    answer = await go_on(client, answer, output)
            assert answer.output_text == "done after 2"
        """,
    "thread": """
        import threading

        def test_it(aquila_cassette):
            said = []
            thread = threading.Thread(
                target=lambda: said.append(converse("What is an eagle?", "a bird", "it is large"))
            )
            thread.start()
            thread.join()
            assert said == ["done after 2"]
        """,
    "unittest": """
        import unittest

        class TestBirds(unittest.TestCase):
            @pytest.mark.aquila("test_app/test_it")
            def test_it(self):
                self.assertEqual(converse("What is an eagle?", "a bird", "it is large"), "done after 2")
        """,
    "subtests": """
        def test_it(aquila_cassette, subtests):
            with subtests.test("eagle"):
                assert converse("What is an eagle?", "a bird", "it is large") == "done after 2"
        """,
    "swallowed": """
        def test_it(aquila_cassette):
            try:
                said = converse("What is an eagle?", "a bird", "it is large")
            except BaseException:
                said = "done after 2"
            assert said == "done after 2"
        """,
    "block": """
        def test_it():
            with aquila.use_cassette("test_app/test_it"):
                assert converse("What is an eagle?", "a bird", "it is large") == "done after 2"
        """,
    "child": """
        import subprocess, sys

        @pytest.mark.aquila("test_app/test_it")
        def test_it():
            code = 'from app import *; print(converse("What is an eagle?", "a bird", "it is large"), end="")'
            assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE).stdout == b"done after 2"
        """,
    **{library: BY_A_LIBRARY.replace("LIBRARY", library) for library in ("httpx2", "requests")},
    "conversation": """
        def test_it(aquila_cassette):
            client = make_client()
            conversation = client.conversations.create().id
            answer = begin(client, "What is an eagle?", conversation=conversation)
            for output in ("a bird", "it is large"):
                result = {"type": "function_call_output", "call_id": "any", "output": output}
                answer = client.responses.create(model="m", input=[result], tools=TOOLS, conversation=conversation)
            assert answer.output_text == "done after 2"
        """,
}


@pytest.mark.parametrize("kind", slow_but(["stream", "async", "unittest", "block"], KINDS))
@pytest.mark.slow
def test_every_kind_of_test_and_client_asks_from_the_beginning(
    stateful: StatefulProject, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "anyio":
        monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:hypothesispytest")  # its plugin is otherwise left out
    if kind == "requests":
        pytest.importorskip("vcr")
        pytest.importorskip("requests")
    stateful.record(KINDS[kind]).assert_outcomes(passed=1)
    before, count = stateful.recordings(), len(stateful.server.seen)
    stateful.api.restart()
    result = stateful.record(KINDS[kind].replace("it is large", "it is very large"))
    outcomes = result.parseoutcomes()
    assert outcomes["passed"] == 1
    assert outcomes["rerun"]  # an attempt may have several reports: of its subtests, of what its threads raise
    assert "failed" not in outcomes
    assert stateful.api.refused == []
    assert len(stateful.server.seen) == 2 * count
    after = stateful.recordings()
    assert len(after) == len(before)
    assert {row.response for row in before}.isdisjoint(row.response for row in after)
    stateful.replays()


@pytest.mark.slow
def test_a_history_that_is_sent_in_full_is_recorded_from_where_it_drifted(stateful: StatefulProject) -> None:
    tests = """
        def test_it(aquila_cassette):
            client = make_client()
            tools = [{"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}]
            messages = [{"role": "user", "content": "What is an eagle?"}]
            for output in ("a bird", "it is large", None):
                said = client.chat.completions.create(model="m", messages=messages, tools=tools).choices[0].message
                messages.append(said.to_dict())
                if said.tool_calls:
                    messages.append({"role": "tool", "tool_call_id": said.tool_calls[0].id, "content": output})
            assert said.content == "done after 2"
        """
    stateful.record(tests).assert_outcomes(passed=1)
    before, count = stateful.recordings(), len(stateful.server.seen)
    assert len(before) == 3
    result = stateful.record(tests.replace("it is large", "it is very large"))
    assert result.parseoutcomes() == {"passed": 1}
    assert len(stateful.server.seen) == count + 1
    assert stateful.recordings()[:2] == before[:2]
    result.stdout.fnmatch_lines(["aquila: 2 replayed, 1 recorded, 0 missed*"])
    stateful.replays()


@pytest.mark.parametrize("reasoning", [False, True])
@pytest.mark.parametrize("call", slow_but(["stream"], ["ask", "stream"]))
@pytest.mark.slow
def test_the_tool_loop_of_ask_begins_again_only_where_the_provider_keeps_a_part_of_it(
    stateful: StatefulProject, monkeypatch: pytest.MonkeyPatch, call: str, reasoning: bool
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", stateful.server.url)
    monkeypatch.setenv("OPENAI_API_KEY", "not needed")
    more = {"reasoning": {"effort": "low"}} if reasoning else {}
    tests = f"""
        results = iter(["a bird", "it is large"])

        def look_up(word: str) -> str:
            return next(results)

        def test_it(aquila_cassette):
            global results
            results = iter(["a bird", "it is large"])
            options = {{"endpoint": "responses", "tools": [look_up], **{more}}}
            if {call == "ask"}:
                said = aquila.ask("What is an eagle?", **options)
            else:
                with aquila.stream("What is an eagle?", **options) as stream:
                    list(stream)
                said = stream.response
            assert said.text == "done after 2"
        """
    stateful.record(tests).assert_outcomes(passed=1)
    before, count = stateful.recordings(), len(stateful.server.seen)
    assert (len(before), stateful.api.refused) == (3, [])
    stateful.api.restart()
    result = stateful.record(tests.replace("it is large", "it is very large"))
    assert result.parseoutcomes() == ({"passed": 1, "rerun": 1} if reasoning else {"passed": 1})
    assert stateful.api.refused == []
    assert len(stateful.server.seen) - count == (3 if reasoning else 1)
    stateful.replays()


def test_a_second_attempt_that_fails_leaves_the_cassette_as_it_was(stateful: StatefulProject) -> None:
    tests = """
        def test_it(aquila_cassette):
            assert converse("What is an eagle?", "a bird", "it is large") == "done after 2"
        """
    stateful.record(tests).assert_outcomes(passed=1)
    before, count = stateful.path().read_bytes(), len(stateful.server.seen)
    changed = tests.replace("it is large", "it is very large").replace("done", "begun")
    result = stateful.record(changed)
    assert result.parseoutcomes() == {"failed": 1, "rerun": 1}
    assert stateful.path().read_bytes() == before
    assert len(stateful.server.seen) == count + 3
    pending = stateful.recordings("test_app/test_it.pending.yaml")
    assert [row.request.body.count(b"very") for row in pending] == [0, 0, 1]
    result.stdout.fnmatch_lines(
        ["aquila: the test did not pass, so nothing in its cassette was replaced*test_it.pending.yaml*"]
    )


TWO_CONVERSATIONS = """
    def test_it(aquila_cassette):
        assert converse("What is an eagle?", "a bird", "it is large") == "done after 2"
        assert converse("What is an owl?", "a bird", "it is small") == "done after 2"
    """


@pytest.mark.slow
def test_there_is_no_third_attempt_and_the_error_says_what_to_type(stateful: StatefulProject) -> None:
    stateful.record(TWO_CONVERSATIONS).assert_outcomes(passed=1)
    before, count = stateful.path().read_bytes(), len(stateful.server.seen)
    changed = TWO_CONVERSATIONS.replace("small", "tiny").replace("it is large", "it is very large")
    result = stateful.record(changed)
    assert result.parseoutcomes() == {"failed": 1, "rerun": 1}
    result.stdout.fnmatch_lines(["*To record all of these anew:", "*pytest test_app.py::test_it --aquila-record=all"])
    assert stateful.path().read_bytes() == before
    assert len(stateful.server.seen) == count + 3
    assert stateful.api.refused == []
    stateful.run(None, "test_app.py::test_it", "--aquila-record=all").assert_outcomes(passed=1)
    stateful.replays()


@pytest.mark.slow
def test_conversations_that_drift_at_once_are_recorded_anew_together(stateful: StatefulProject) -> None:
    tests = """
        from concurrent.futures import ThreadPoolExecutor

        def ask(bird):
            return converse(f"What is {bird}?", "a bird", "it is large")

        def test_it(aquila_cassette):
            with ThreadPoolExecutor() as pool:
                runs = [pool.submit(ask, bird) for bird in ("an eagle", "an owl")]
            assert [run.exception() or run.result() for run in runs] == ["done after 2"] * 2
        """
    stateful.record(tests).assert_outcomes(passed=1)
    count = len(stateful.server.seen)
    result = stateful.record(tests.replace("it is large", "it is very large"))
    assert result.parseoutcomes() == {"passed": 1, "rerun": 1}
    assert len(stateful.server.seen) == count + 6
    stateful.replays()


def test_after_the_drift_nothing_of_the_first_attempt_is_sent(stateful: StatefulProject) -> None:
    tests = """
        def test_it(aquila_cassette):
            try:
                converse("What is an eagle?", "a bird", "it is large")
            except BaseException:
                pass
            ask_plainly("What is an owl?")
        """
    stateful.record(tests).assert_outcomes(passed=1)
    count = len(stateful.server.seen)
    result = stateful.record(tests.replace("it is large", "it is very large").replace("an owl", "a tawny owl"))
    assert result.parseoutcomes() == {"passed": 1, "rerun": 1}
    inputs = [seen.json["input"] for seen in stateful.server.seen[count:]]
    assert [text for text in inputs if isinstance(text, str)] == ["What is an eagle?", "What is a tawny owl?"]


@pytest.mark.parametrize("how", ["option", "marker"])
@pytest.mark.slow
def test_a_run_that_records_everything_needs_no_second_attempt(stateful: StatefulProject, how: str) -> None:
    stateful.record(CONVERSATION).assert_outcomes(passed=1)
    count = len(stateful.server.seen)
    stateful.api.restart()
    marked = "    @pytest.mark.aquila(transport='record', record='all')" + DRIFTED
    if how == "option":
        result = stateful.run(DRIFTED, "--aquila-record=all")
    else:
        result = stateful.run(marked)
    assert result.parseoutcomes() == {"passed": 1}
    assert len(stateful.server.seen) == count + 5
    stateful.run(DRIFTED).assert_outcomes(passed=1)


@pytest.mark.slow
def test_a_test_that_records_by_its_marker_has_a_second_attempt_too(stateful: StatefulProject) -> None:
    marked = "    @pytest.mark.aquila(transport='record')"
    stateful.run(marked + CONVERSATION).assert_outcomes(passed=1)
    count = len(stateful.server.seen)
    assert stateful.run(marked + DRIFTED).parseoutcomes() == {"passed": 1, "rerun": 1}
    assert len(stateful.server.seen) == count + 3


def test_a_replay_advises_to_record_what_has_drifted(stateful: StatefulProject) -> None:
    stateful.record(CONVERSATION).assert_outcomes(passed=1)
    count = len(stateful.server.seen)
    result = stateful.run(DRIFTED)
    assert result.parseoutcomes() == {"failed": 1}
    output = result.stdout.str()
    assert "input[0].output: recorded 'it is large', now 'it is very large'" in output
    assert "pytest test_app.py::test_it --aquila-record\n" in output
    assert "ran twice" not in output
    assert len(stateful.server.seen) == count


def test_an_expected_drift_that_the_test_forgets_is_no_reason_for_a_second_attempt(stateful: StatefulProject) -> None:
    stateful.record(CONVERSATION).assert_outcomes(passed=1)
    result = stateful.record(
        """
        def test_it(aquila_cassette):
            client = make_client()
            answer = begin(client, "What is an eagle?")
            with pytest.raises(aquila.errors.CassetteMiss):
                go_on(client, answer, "something else")
            aquila_cassette.forget_misses()
        """
    )
    assert result.parseoutcomes() == {"passed": 1}
