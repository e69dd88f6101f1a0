"""``websocket=True`` in tests of a project: with the fixture, in threads and tasks, and when requests have changed."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("huey")

# Loaded once: a second run within this process must not make copies of them.
import aquila.engine.streams.socket_exchange
import aquila.huey.testing.performing  # noqa: F401
import tests.support.preloaded  # noqa: F401
from aquila.errors import UnscriptedRequest
from tests.support.engines import Engine
from tests.support.provider import responses_events
from tests.support.responses_over_sockets import SocketAnswer, SocketProvider, answering, called
from tests.support.runs import separate_run

APP = """
import threading
import aquila
from huey import MemoryHuey

huey = MemoryHuey("app")

def look(city: str) -> str:
    return f"fine in {city}"

def ask(question):
    return aquila.ask(question, endpoint="responses", websocket=True, tools=[look], metadata={"of": "this test"}).text

def ask_in_thread(question):
    found = []
    thread = threading.Thread(target=lambda: found.append(ask(question)))
    thread.start()
    thread.join()
    return found

@huey.task()
def answer(question):
    return ask(question)
"""
TEST = """
import app

def test_it(aquila_cassette, perform_job):
    assert app.ask("Here?") == "here"
    assert app.ask_in_thread("In a thread?") == ["in a thread"]
    assert perform_job(app.answer, "In a task?").value == "in a task"
"""


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-0123456789abcdef0123456789")


def run(pytester: pytest.Pytester, *arguments: str, test: str = TEST) -> pytest.RunResult:
    pytester.makepyfile(app=APP, test_it=test)
    return pytester.runpytest_inprocess(
        "-p", "no:cacheprovider", "-p", "no:xdist", "-o", "aquila_huey=app:huey", *arguments
    )


def use(provider: SocketProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", provider.url)


ANSWERS: list[SocketAnswer] = [
    called(("look", '{"city": "Ulm"}')),
    responses_events("here", id="resp_2"),
    responses_events("in a thread", id="resp_3"),
    responses_events("in a task", id="resp_4"),
]


def test_calls_in_the_test_in_threads_and_in_tasks_are_recorded_and_replayed(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering(*ANSWERS) as provider:
        use(provider, monkeypatch)
        run(pytester, "--aquila-record").assert_outcomes(passed=1)
        assert provider.connections == 3
    result = run(pytester)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["aquila: 3 replayed, 0 recorded, 0 missed*"])


@pytest.mark.slow
def test_a_call_whose_tool_result_has_changed_is_recorded_again(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = 'import app\n\ndef test_it(aquila_cassette):\n    assert app.ask("Here?") == "here"\n'
    with answering(*ANSWERS[:2], *ANSWERS[:2]) as provider:
        use(provider, monkeypatch)
        run(pytester, "--aquila-record", test=test).assert_outcomes(passed=1)
        drifted = test.replace("import app", "import app\napp.look = lambda city: f'foul in {city}'", 1)
        drifted = drifted.replace("app.look = ", "app.look.__code__ = (").replace("{city}'", "{city}').__code__")
        result = run(pytester, test=drifted)
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(["*input*output: recorded 'fine in Ulm', now 'foul in Ulm'"])
        result = run(pytester, "--aquila-record", test=drifted)
        assert result.parseoutcomes() == {"passed": 1, "rerun": 1}
        assert provider.connections == 2
    run(pytester, test=drifted).assert_outcomes(passed=1)


def test_without_a_cassette_nothing_is_sent(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    with answering() as provider:
        use(provider, monkeypatch)
        result = run(pytester, test='import app\n\ndef test_it():\n    app.ask("Here?")\n')
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(
            ["*LiveCallRefused: a request to a model was refused*", "*use the fixture aquila_cassette*"]
        )
        assert provider.connections == 0


SCRIPTED = """
import app

def test_it(aquila_script):
    aquila_script.tool_call("look", city="Ulm")
    aquila_script.reply("here")
    assert app.ask("Here?") == "here"
    assert len(aquila_script.requests) == 2
"""


def test_a_script_answers(pytester: pytest.Pytester) -> None:
    run(pytester, test=SCRIPTED).assert_outcomes(passed=1)
    result = run(pytester, test=SCRIPTED.replace('    aquila_script.reply("here")\n', ""))
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*UnscriptedRequest*"])


def test_a_script_file_answers_as_a_cassette_and_as_the_transport(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, engine: Engine
) -> None:
    folder = pytester.mkdir("cassettes")
    (folder / "said.script.yaml").write_text("script:\n- tool_call: {look: {city: Ulm}}\n- reply: here\n")

    def look(city: str) -> str:
        return f"fine in {city}"

    options: dict[str, Any] = {"endpoint": "responses", "websocket": True, "tools": [look], "api_key": None}
    with separate_run(pytester.path):
        assert engine.ask("Here?", cassette="said", transport=None, **options).text == "here"
    monkeypatch.setenv("AQUILA_SCRIPT", "said")
    with separate_run(pytester.path):
        assert engine.ask("Here?", transport="script", **options).text == "here"
        with pytest.raises(UnscriptedRequest):
            engine.ask("And there?", transport="script", **options)
