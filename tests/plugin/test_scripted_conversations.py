"""Scripts and WebSockets in runs of tests: the fixture, files, other transports, cassettes beside, other processes."""

from __future__ import annotations

import pytest

import tests.support.preloaded  # noqa: F401
from tests.support.openai_web_sockets import OpenAIProvider
from tests.support.web_sockets import web_socket_provider

HELPERS = """
import json
import subprocess
import sys
from websockets.sync.client import connect

URL = "wss://api.openai.com/v1/responses"


def ask(*questions, url=URL):
    said = []
    with connect(url) as connection:
        for question in questions:
            connection.send(json.dumps({"type": "response.create", "model": "m", "input": question}))
            while True:
                event = json.loads(connection.recv(60))
                if event["type"] == "error":
                    said.append(event["error"]["code"])
                    break
                if event["type"] == "response.completed":
                    said.append(event["response"]["output"][0]["content"][0]["text"])
                    break
    return said


def ask_in_child(question):
    code = f"import helpers; print(*helpers.ask({question!r}))"
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()
"""


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makepyfile(helpers=HELPERS)
    pytester.syspathinsert()
    return pytester


def test_the_fixture_answers_and_counts(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        from helpers import ask

        def test_answered(aquila_script):
            aquila_script.reply("one").error(429).reply("two")
            assert ask("a", "b", "c") == ["one", "rate_limit_exceeded", "two"]
            assert [request.text for request in aquila_script.requests] == ["a", "b", "c"]

        def test_left(aquila_script):
            aquila_script.reply("one").reply("two")
            assert ask("a") == ["one"]

        def test_missed(aquila_script):
            aquila_script.reply("one")
            try:
                ask("a", "b")
            except Exception:
                pass
        """
    )
    result = project.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:xdist")
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines_random(
        ['*reply("two")*', "*no answer is scripted for a message to wss://api.openai.com/v1/responses*"]
    )


def test_scripts_in_files_answer_by_marker_and_as_a_transport(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = project.mkdir("cassettes")
    (folder / "greeting.script.yaml").write_text("script:\n- reply: Hello.\n", encoding="utf-8")
    project.makepyfile(
        """
        import pytest
        from helpers import ask

        @pytest.mark.aquila("greeting")
        def test_marked():
            assert ask("hi") == ["Hello."]
        """
    )
    run = ("-p", "no:cacheprovider", "-p", "no:xdist")
    project.runpytest_inprocess(*run).assert_outcomes(passed=1)
    project.makepyfile(
        """
        from helpers import ask

        def test_by_setting(aquila_cassette):
            assert ask("hi") == ["Hello."]
        """
    )
    monkeypatch.setenv("AQUILA_SCRIPT", "greeting")
    project.runpytest_inprocess(*run, "--aquila-transport=script").assert_outcomes(passed=1)


def test_a_cassette_answers_what_a_script_leaves(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        from helpers import ask

        def test_both(aquila_script, aquila_cassette):
            aquila_script.reply("by hand")
            assert ask("a") == ["by hand"]
            assert ask("b") == ["B"]
        """
    )
    run = ("-p", "no:cacheprovider", "-p", "no:xdist")
    with web_socket_provider("api.openai.com", speak=OpenAIProvider().speak) as provider:
        project.runpytest_inprocess(*run, "--aquila-record").assert_outcomes(passed=1)
        assert len(provider.paths) == 1
        project.runpytest_inprocess(*run).assert_outcomes(passed=1)
        assert len(provider.paths) == 1


@pytest.mark.slow
def test_a_child_process_asks_the_script_of_the_test(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        from helpers import ask, ask_in_child

        def test_it(aquila_script):
            aquila_script.when("child").reply("to a child")
            aquila_script.reply("to the test")
            assert ask_in_child("a child asks") == "to a child"
            assert ask("hi") == ["to the test"]
        """
    )
    project.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:xdist").assert_outcomes(passed=1)


def test_threads_with_a_connection_each_share_a_script(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        from concurrent.futures import ThreadPoolExecutor
        from helpers import ask

        def test_it(aquila_script):
            for number in range(8):
                aquila_script.when(last=f"number {number} ").reply(f"is {number}")
            questions = [f"number {number} please" for number in range(8)]
            with ThreadPoolExecutor(8) as pool:
                answers = list(pool.map(ask, questions))
            assert answers == [[f"is {number}"] for number in range(8)]
        """
    )
    project.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:xdist").assert_outcomes(passed=1)
