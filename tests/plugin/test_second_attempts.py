"""The second attempt at a test whose conversation drifted, beside fixtures, outcomes, options and other plugins."""

from __future__ import annotations

import shlex
import sys
from xml.etree import ElementTree

import pytest

from aquila.recording.scope import Scope
from tests.support.stateful_project import StatefulProject

pytest.importorskip("openai")
pytest.importorskip("httpcore2")  # loaded now: two threads of a test that load it at once disturb each other

FILE_OF_A_FIXTURE = """
    @pytest.fixture(scope="session")
    def file():
        with aquila.http_client() as http:
            return http.post(URL + "/files", json={"purpose": "user_data"}).json()["id"]

    def ask_about(file, question):
        content = [{"type": "input_file", "file_id": file}, {"type": "input_text", "text": question}]
        return make_client().responses.create(model="m", input=[{"role": "user", "content": content}]).output_text

    @pytest.mark.aquila
    class TestFile:
        def test_one(self, file):
            assert ask_about(file, "What is in it?")

        def test_other(self, file):
            assert ask_about(file, "Who wrote it?")
    """


def use_models_of_fixtures(stateful: StatefulProject) -> None:
    """Let fixtures ask for files too: what they ask beside models goes its own way without a mark."""
    tests = FILE_OF_A_FIXTURE.replace(
        "    @pytest.mark.aquila\n    class", "    pytestmark = pytest.mark.aquila\n\n    class"
    )
    stateful.record(tests.replace('scope="session"', 'scope="module"')).assert_outcomes(passed=2)


@pytest.mark.slow
def test_an_id_of_a_shared_fixture_is_an_error_that_says_what_to_type(stateful: StatefulProject) -> None:
    use_models_of_fixtures(stateful)
    count = len(stateful.server.seen)
    assert count == 3
    stateful.api.restart()
    changed = (stateful.pytester.path / "test_app.py").read_text().replace("Who wrote", "Who really wrote")
    result = stateful.record(changed)
    assert result.parseoutcomes() == {"passed": 1, "failed": 1}
    assert len(stateful.server.seen) == count
    output = result.stdout.str()
    assert "input[0].content[0].file_id names an id that was replayed from recording 1 of test_app/@file" in output
    command = "pytest test_app.py::TestFile::test_one test_app.py::TestFile::test_other --aquila-record=all"
    assert f"  {command}\n" in output
    assert "One of these is for fixture file of test_app.py, which does not run again with one test." in output
    # A replay knows it too: to record what is missing would not do.
    assert f"  {command}\n" in stateful.run().stdout.str()
    stateful.run(None, *shlex.split(command)[1:]).assert_outcomes(passed=2)
    assert len(stateful.server.seen) == 2 * count
    stateful.replays(passed=2)


@pytest.mark.slow
def test_fixtures_of_the_test_are_set_up_anew_and_those_of_its_module_are_not(stateful: StatefulProject) -> None:
    tests = """
        events = []

        @pytest.fixture(scope="module", autouse=True)
        def wide():
            events.append("wide")
            yield
            events.append("not wide")
            print(events)

        @pytest.fixture
        def narrow(aquila_cassette):
            events.append("narrow")
            yield make_client().conversations.create().id
            events.append("not narrow")

        def test_it(narrow):
            events.append("test")
            client = make_client()
            assert client.responses.create(model="m", input="What is an eagle?", conversation=narrow).id
        """
    stateful.record(tests).assert_outcomes(passed=1)
    result = stateful.record(tests.replace("an eagle", "an owl"), "-s")
    assert result.parseoutcomes() == {"passed": 1, "rerun": 1}
    attempt = ["narrow", "test", "not narrow"]
    assert str(["wide", *attempt, *attempt, "not wide"]) in result.stdout.str()
    stateful.replays()


@pytest.mark.parametrize("place", ["setup", "shared setup", "teardown"])
@pytest.mark.slow
def test_a_drift_in_a_fixture_is_recorded_anew_too(stateful: StatefulProject, place: str) -> None:
    scope = "module" if place == "shared setup" else "function"
    tests = {
        "teardown": """
        @pytest.fixture
        def birds(aquila_cassette):
            client = make_client()
            answer = begin(client, "What is an eagle?")
            yield
            go_on(client, answer, "it is large")
        """
    }.get(
        place,
        f"""
        @pytest.fixture(scope="{scope}")
        def birds({"" if scope == "module" else "aquila_cassette"}):
            return converse("What is an eagle?", "it is large")
        """,
    )
    tests += (
        """
        def test_it(birds, aquila_cassette):
            ask_plainly("What is an owl?")

        def test_more(birds):
            pass
        """
        if scope == "module"
        else """
        def test_it(birds, aquila_cassette):
            ask_plainly("What is an owl?")
        """
    )
    passed = 2 if scope == "module" else 1
    stateful.record(tests).assert_outcomes(passed=passed)
    count = len(stateful.server.seen)
    stateful.api.restart()
    result = stateful.record(tests.replace("it is large", "it is very large"))
    outcomes = result.parseoutcomes()
    assert (outcomes["passed"], outcomes["rerun"]) == (passed + (place == "teardown"), 1)
    assert {"failed", "errors"}.isdisjoint(outcomes)
    assert stateful.api.refused == []
    assert len(stateful.server.seen) == count + 2
    stateful.replays(passed=passed)


@pytest.mark.slow
def test_a_drift_at_the_teardown_of_a_shared_fixture_leaves_its_cassette_as_it_was(stateful: StatefulProject) -> None:
    tests = """
        @pytest.fixture(scope="module")
        def birds():
            client = make_client()
            answer = begin(client, "What is an eagle?")
            yield
            ask_plainly("What is a heron?")
            go_on(client, answer, "it is large")

        def test_it(birds):
            pass
        """
    stateful.record(tests).assert_outcomes(passed=1)
    before = stateful.path("test_app/@birds.yaml").read_bytes()
    result = stateful.record(tests.replace("a heron", "a tern").replace("it is large", "it is very large"))
    result.assert_outcomes(passed=1, errors=1)
    assert stateful.path("test_app/@birds.yaml").read_bytes() == before


def test_a_test_that_is_expected_to_fail_runs_twice_and_keeps_its_recordings_aside(stateful: StatefulProject) -> None:
    tests = """
        @pytest.mark.xfail(strict=True)
        def test_it(aquila_cassette):
            converse("What is an eagle?", "it is large")
            assert False
        """
    stateful.record(tests).assert_outcomes(xfailed=1)
    before, count = stateful.path().read_bytes(), len(stateful.server.seen)
    result = stateful.record(tests.replace("it is large", "it is very large"))
    assert result.parseoutcomes() == {"xfailed": 1, "rerun": 1}
    assert len(stateful.server.seen) == count + 2
    assert stateful.path().read_bytes() == before
    assert len(stateful.recordings("test_app/test_it.pending.yaml")) == 2


SEVERAL = """
    @pytest.mark.parametrize("bird", ["an eagle", "an owl", "a heron"])
    def test_it(aquila_cassette, bird):
        converse(f"What is {bird}?", "it is large")
    """


@pytest.mark.slow
def test_workers_of_xdist_run_their_tests_twice(stateful: StatefulProject) -> None:
    pytest.importorskip("xdist")
    arguments = ("-p", "no:cacheprovider", "-n", "2", "--aquila-record")
    stateful.write(SEVERAL)
    stateful.pytester.runpytest_subprocess(*arguments).assert_outcomes(passed=3)
    count = len(stateful.server.seen)
    stateful.write(SEVERAL.replace("it is large", "it is very large"))
    result = stateful.pytester.runpytest_subprocess(*arguments)
    assert {name: number for name, number in result.parseoutcomes().items() if name != "warnings"} == {
        "passed": 3,
        "rerun": 3,
    }
    assert len(stateful.server.seen) == count + 6
    assert "3 tests ran twice: " in result.stdout.str()
    stateful.replays(passed=3)


@pytest.mark.slow
def test_options_that_stop_at_failures_do_not_stop_at_a_first_attempt(stateful: StatefulProject) -> None:
    stateful.record(SEVERAL).assert_outcomes(passed=3)
    report = stateful.pytester.path / "report.xml"
    result = stateful.record(SEVERAL.replace("it is large", "it is very large"), "-x", f"--junitxml={report}")
    assert result.parseoutcomes() == {"passed": 3, "rerun": 3}
    assert result.ret == 0
    suite = ElementTree.parse(report).getroot()[0]
    assert [suite.get(name) for name in ("tests", "failures", "errors", "skipped")] == ["3", "0", "0", "0"]
    assert len(suite.findall("testcase")) == 3


@pytest.mark.slow
def test_a_file_that_the_test_uploads_is_uploaded_again(stateful: StatefulProject) -> None:
    tests = FILE_OF_A_FIXTURE.replace('(scope="session")', "").replace("def file():", "def file(aquila_cassette):")
    stateful.record(tests).assert_outcomes(passed=2)
    count = len(stateful.server.seen)
    stateful.api.restart()
    result = stateful.record(tests.replace("Who wrote", "Who really wrote"))
    assert result.parseoutcomes() == {"passed": 2, "rerun": 1}
    assert stateful.sent_since(count) == ["POST /v1/files", "POST /v1/responses"]
    assert stateful.api.refused == []
    stateful.replays(passed=2)


@pytest.mark.slow
def test_a_session_of_mcp_is_begun_again(stateful: StatefulProject) -> None:
    tests = """
        import httpx2

        def test_it(aquila_cassette):
            with httpx2.Client() as http:
                def call(method, **params):
                    message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
                    return http.post(URL.removesuffix("/v1") + "/mcp", json=message)
                http.headers["mcp-session-id"] = call("initialize").headers["mcp-session-id"]
                for name in ("eagle", "owl"):
                    answer = call("tools/call", name=name)
                    assert answer.json()["result"] == {"content": {"name": name}}
        """
    stateful.record(tests).assert_outcomes(passed=1)
    count = len(stateful.server.seen)
    stateful.api.restart()
    result = stateful.record(tests.replace('"owl"', '"heron"'))
    assert result.parseoutcomes() == {"passed": 1, "rerun": 1}
    assert stateful.api.refused == []
    assert len(stateful.server.seen) == count + 3
    stateful.replays()


@pytest.mark.slow
def test_a_child_process_of_the_test_is_run_again_with_it(stateful: StatefulProject) -> None:
    tests = """
        import subprocess, sys

        def test_it(aquila_cassette):
            program = "from app import *; converse('What is an eagle?', 'it is large')"
            subprocess.run([sys.executable, "-c", program], check=True)
        """
    stateful.record(tests).assert_outcomes(passed=1)
    before, count = stateful.recordings(), len(stateful.server.seen)
    assert len(before) == 2
    stateful.api.restart()
    result = stateful.record(tests.replace("it is large", "it is very large"))
    assert result.parseoutcomes() == {"passed": 1, "rerun": 1}
    assert stateful.api.refused == []
    assert len(stateful.server.seen) == count + 2
    assert len(stateful.recordings()) == 2
    stateful.replays()


@pytest.mark.slow
def test_a_client_of_the_tests_server_begins_its_conversation_again(
    stateful: StatefulProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("starlette")
    monkeypatch.setenv("OPENAI_BASE_URL", stateful.server.url)
    tests = """
        import httpx2

        def test_it(aquila_server, aquila_cassette):
            def ask(**body):
                body = {"model": "m", "tools": TOOLS, **body}
                headers = {"authorization": f"Bearer {aquila_server.token}"}
                answered = httpx2.post(aquila_server.base_url + "/responses", json=body, headers=headers)
                return answered.raise_for_status().json()
            answer = ask(input="What is an eagle?")
            for output in ("a bird", "it is large"):
                result = {"type": "function_call_output", "call_id": "any", "output": output}
                answer = ask(input=[result], previous_response_id=answer["id"])
            assert answer["output"][0]["content"][0]["text"] == "done after 2"
        """
    stateful.record(tests).assert_outcomes(passed=1)
    count = len(stateful.server.seen)
    assert count == 3
    stateful.api.restart()
    result = stateful.record(tests.replace("it is large", "it is very large"))
    assert result.parseoutcomes() == {"passed": 1, "rerun": 1}
    assert stateful.api.refused == []
    assert len(stateful.server.seen) == count + 3
    stateful.replays()


def run_program(stateful: StatefulProject, last: str, monkeypatch: pytest.MonkeyPatch) -> pytest.RunResult:
    stateful.pytester.makepyfile(
        program=f"""
        import aquila
        from app import converse

        with aquila.use_cassette("talk", transport="record", loopback="all"):
            print(converse("What is an eagle?", "a bird", {last!r}))
        """
    )
    monkeypatch.delenv("AQUILA_RUN", raising=False)
    return stateful.pytester.runpython(stateful.pytester.path / "program.py")


@pytest.mark.slow
def test_a_program_is_told_what_to_type(stateful: StatefulProject, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_program(stateful, "it is large", monkeypatch).outlines == ["done after 2"]
    before, count = stateful.path("talk.yaml").read_bytes(), len(stateful.server.seen)
    stateful.api.restart()
    result = run_program(stateful, "it is very large", monkeypatch)
    assert result.ret == 1
    result.stderr.fnmatch_lines(
        [
            "aquila.errors.ConversationDrifted: input[[]0].output *",
            "previous_response_id names an id that was replayed from recording 2 of talk:",
            "  run it once with AQUILA_TRANSPORT=record and AQUILA_RECORD=all in the environment",
        ]
    )
    assert stateful.path("talk.yaml").read_bytes() == before
    assert len(stateful.server.seen) == count
    monkeypatch.setenv("AQUILA_TRANSPORT", "record")
    monkeypatch.setenv("AQUILA_RECORD", "all")
    assert run_program(stateful, "it is very large", monkeypatch).outlines == ["done after 2"]
    assert len(stateful.server.seen) == count + 3


@pytest.mark.parametrize(
    ("command", "everything"),
    [
        ("pytest a.py::test --aquila-record", "pytest a.py::test --aquila-record=all"),
        ("aquila serve --record --cassette x", "aquila serve --record=all --cassette x"),
        ("", "run it once with AQUILA_TRANSPORT=record and AQUILA_RECORD=all in the environment"),
    ],
)
def test_every_command_that_records_has_one_that_records_everything(command: str, everything: str) -> None:
    assert Scope(kind="block", command=command).record_command(everything=True) == everything


@pytest.mark.slow
def test_a_run_that_only_replays_loads_no_module_about_conversations(stateful: StatefulProject) -> None:
    stateful.record(SEVERAL).assert_outcomes(passed=3)
    tests = (
        SEVERAL
        + """
    def test_that_nothing_was_loaded():
        import sys
        names = ("drifted_conversations", "matching.linked_recordings", "provider_ids", "second_attempts")
        assert not [name for name in sys.modules if "aquila" in name and name.endswith(names)]
    """
    )
    stateful.write(tests)
    result = stateful.pytester.runpytest_subprocess("-p", "no:cacheprovider", "-p", "no:xdist")
    result.assert_outcomes(passed=4)


@pytest.mark.slow
def test_a_second_attempt_that_is_killed_loses_nothing(stateful: StatefulProject) -> None:
    tests = """
        import os, pathlib

        def test_it(aquila_cassette):
            client = make_client()
            answer = begin(client, "What is an eagle?")
            answer = go_on(client, answer, "it is large")
            if pathlib.Path("kill").exists():
                os._exit(9)
            go_on(client, answer, "it has wings")
        """
    stateful.record(tests).assert_outcomes(passed=1)
    before, count = stateful.path().read_bytes(), len(stateful.server.seen)
    changed = tests.replace("it is large", "it is very large")
    (stateful.pytester.path / "kill").touch()
    stateful.write(changed)
    stateful.pytester.runpytest_subprocess("-p", "no:cacheprovider", "-p", "no:xdist", "--aquila-record")
    assert len(stateful.server.seen) == count + 2
    assert stateful.path().read_bytes() == before
    stateful.api.restart()
    (stateful.pytester.path / "kill").unlink()
    stateful.write(tests)
    stateful.replays()
    assert stateful.record(changed).parseoutcomes() == {"passed": 1, "rerun": 1}
    assert stateful.api.refused == []
    assert len(stateful.recordings()) == 3
    stateful.replays()


@pytest.mark.slow
def test_a_second_attempt_that_is_killed_at_its_end_can_be_accepted(stateful: StatefulProject) -> None:
    tests = """
        import os, pathlib

        def test_it(aquila_cassette):
            client = make_client()
            go_on(client, begin(client, "What is an eagle?"), "it is large")
            if pathlib.Path("kill").exists():
                os._exit(9)
        """
    stateful.record(tests).assert_outcomes(passed=1)
    (stateful.pytester.path / "kill").touch()
    stateful.write(tests.replace("it is large", "it is very large"))
    stateful.pytester.runpytest_subprocess("-p", "no:cacheprovider", "-p", "no:xdist", "--aquila-record")
    (stateful.pytester.path / "kill").unlink()
    assert stateful.pytester.run(sys.executable, "-m", "aquila", "cassettes", "accept", "--yes").ret == 0
    stateful.replays()


@pytest.mark.slow
def test_a_block_within_a_test_advises_what_records_the_test(stateful: StatefulProject) -> None:
    tests = """
        def test_it():
            with aquila.use_cassette("birds"):
                converse("What is an eagle?", "it is large")
                converse("What is an owl?", "it is small")
        """
    stateful.record(tests).assert_outcomes(passed=1)
    changed = tests.replace("it is", "it is very")
    assert "  pytest test_app.py::test_it --aquila-record\n" in stateful.run(changed).stdout.str()
    result = stateful.record(changed)
    assert result.parseoutcomes() == {"failed": 1, "rerun": 1}
    assert "  pytest test_app.py::test_it --aquila-record=all\n" in result.stdout.str()


@pytest.mark.slow
def test_a_conversation_through_several_cassettes_is_recorded_anew_in_all_of_them(stateful: StatefulProject) -> None:
    tests = """
        def test_it(aquila_cassette):
            client = make_client()
            with aquila.use_cassette("beginning"):
                answer = begin(client, "What is an eagle?")
                other = begin(client, "What is an owl?")
            with aquila.use_cassette("end"):
                go_on(client, other, "it is small")
            assert go_on(client, answer, "it is large").id
        """
    stateful.record(tests).assert_outcomes(passed=1)
    names = ("beginning.yaml", "end.yaml", "test_app/test_it.yaml")
    before, count = [stateful.recordings(name) for name in names], len(stateful.server.seen)
    stateful.api.restart()
    result = stateful.record(tests.replace("it is large", "it is very large"))
    assert result.parseoutcomes() == {"passed": 1, "rerun": 1}
    assert (len(stateful.server.seen), stateful.api.refused) == (count + 2, [])
    after = [stateful.recordings(name) for name in names]
    assert [len(each) for each in after] == [2, 1, 1]
    assert (after[0][1], after[1]) == (before[0][1], before[1])
    assert (after[0][0] != before[0][0], after[2] != before[2]) == (True, True)
    stateful.replays()
