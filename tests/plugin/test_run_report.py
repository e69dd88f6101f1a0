"""``--aquila-report``: what the tests asked and what answered, as data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from aquila.recording.reporting.reports import ScopeReport
from pytest_aquila.summary import junit_facts
from tests.plugin.conftest import Project
from tests.support.report_schema import read_report
from tests.support.server import json_answer, serving

REPORT = "--aquila-report=run.json"


def exchanges_of(report: Any) -> dict[str, list[Any]]:
    """The exchanges of each test, by the name of its function."""
    return {test["id"].rpartition("::")[2]: test["exchanges"] for test in report["tests"]}


def test_a_replay_a_miss_and_a_refusal_are_reported_with_their_contents(project: Project) -> None:
    tests = """
        def test_replayed(aquila_cassette):
            post("hello", temperature=1)

        def test_missed(aquila_cassette):
            post("{}")

        def test_refused():
            import httpx2
            httpx2.post("https://api.openai.com/v1/chat/completions", json={{}})
        """
    project.record(tests=tests.format("one word")).assert_outcomes(passed=2, failed=1)
    result = project.run(REPORT, tests=tests.format("another word"))
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines(["aquila: report in run.json"])
    report = read_report(project.pytester.path)
    assert {name: report["totals"][name] for name in ("tests", "replayed", "missed", "refused", "requests")} == {
        "tests": 3,
        "replayed": 1,
        "missed": 1,
        "refused": 1,
        "requests": 3,
    }
    replayed, missed, refused = report["tests"]
    assert [test["outcome"] for test in report["tests"]] == ["passed", "failed", "failed"]
    exchange = replayed["exchanges"][0]
    assert exchange["request_body"] == '{"prompt":"hello","temperature":1}'
    assert exchange["response_body"] == '{"answer":1,"usage":{"total_tokens":7}}'
    assert (exchange["source"], exchange["status"], exchange["usage"]) == ("replayed", 200, {"total_tokens": 7})
    assert exchange["host"] + exchange["path"] == "provider.example/v1/x"
    lines = (project.pytester.path / exchange["cassette"]).read_text().splitlines()
    assert lines[exchange["line"] - 1].startswith("- request")
    assert replayed["command"] == "pytest test_app.py::test_replayed --aquila-record"

    exchange, unplayed = missed["exchanges"]
    assert exchange["states"] == ["missed"]
    assert exchange["drift"]["changes"] == [{"path": "prompt", "was": "one word", "now": "another word"}]
    assert "prompt differs" in exchange["problem"]
    assert unplayed["states"] == ["unplayed"]
    assert exchange["cassette"] == unplayed["cassette"] == "cassettes/test_app/test_missed.yaml"
    assert (refused["states"], refused["exchanges"][0]["host"]) == (["refused"], "api.openai.com")
    assert not list(project.pytester.path.glob("run.json.partial*"))


EVERYTHING = """
import json
import subprocess
import sys

import aquila
import httpx2
import pytest
from aquila.huey import MemoryHuey
from aquila.huey.testing import drain_queue, use_test_queue

huey = MemoryHuey("jobs")
CHAT = "https://api.openai.com/v1/chat/completions"
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


def chat(text, **more):
    body = {"model": "gpt-x", "messages": [{"role": "user", "content": text}], **more}
    return httpx2.post(CHAT, json=body)


@huey.task(retries=1)
def work():
    if chat("from a job").status_code != 200:
        raise ValueError("no answer")


def test_script(aquila_script):
    aquila_script.reasoning("They greet.").reply("Hello there", usage=(11, 3))
    aquila_script.tool_call("weather", city="Rome")
    aquila_script.reply("Sunny in Rome")
    assert chat("Hi", stream=True, stream_options={"include_usage": True}).text
    call = chat("And Rome?", tools=[TOOL]).json()["choices"][0]["message"]
    messages = [{"role": "user", "content": "And Rome?"}, call]
    messages.append({"role": "tool", "tool_call_id": call["tool_calls"][0]["id"], "content": "sunny"})
    httpx2.post(CHAT, json={"model": "gpt-x", "messages": messages})


@pytest.mark.aquila(faults="overloaded")
def test_fault(aquila_script):
    aquila_script.reply("after all")
    assert chat("Hi").status_code != 200
    assert chat("Hi").status_code == 200


def test_socket(aquila_script):
    from websockets.sync.client import connect
    aquila_script.reply("over a socket")
    with connect("wss://api.openai.com/v1/responses?model=gpt-socket") as connection:
        connection.send(json.dumps({"type": "response.create", "model": "gpt-socket", "input": "Hi"}))
        while json.loads(connection.recv(60))["type"] != "response.completed":
            pass


def test_job(aquila_script):
    aquila_script.error(400).reply("done")
    with use_test_queue(huey):
        work()
        drain_queue(huey=huey, raise_errors=False)


def test_image(aquila_script):
    aquila_script.reply("a dot")
    url = "data:image/png;base64,iVBORw0KGgo="
    parts = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": url}}]
    httpx2.post(CHAT, json={"model": "gpt-x", "messages": [{"role": "user", "content": parts}]})


def test_child(aquila_cassette):
    subprocess.run([sys.executable, "-c", "import app; app.post('from a child')"], check=True)


def test_block():
    from app import post
    with aquila.use_cassette("block"):
        post("in a block")


@pytest.fixture(scope="module")
def shared():
    from app import post
    return post("in a fixture")


def test_fixture(shared):
    pass


def test_fixture_again(shared):
    pass
"""


@pytest.mark.slow
def test_scripts_faults_sockets_jobs_blocks_fixtures_and_children_are_told(project: Project) -> None:
    project.pytester.makepyfile(test_everything=EVERYTHING)
    project.record("-k", "child or block or fixture").assert_outcomes(passed=4)
    # In a process of its own: Huey's classes are made once.
    result = project.pytester.runpytest_subprocess(REPORT, "-p", "no:cacheprovider", "-p", "no:xdist")
    result.assert_outcomes(passed=9)
    report = read_report(project.pytester.path)
    told = exchanges_of(report)
    streamed, asked, answered = told["test_script"]
    assert streamed["states"] == ["scripted"]
    assert (streamed["messages"], streamed["streamed"]) == ([{"role": "user", "text": "Hi"}], True)
    assert streamed["answer"] == [{"role": "assistant", "text": "Hello there", "reasoning": "They greet."}]
    assert streamed["usage"] == {"input_tokens": 11, "output_tokens": 3, "total_tokens": 14, "cached_tokens": 0}
    call = asked["answer"][0]["tool_calls"][0]
    assert (call["name"], json.loads(call["arguments"]), call["result"]) == ("weather", {"city": "Rome"}, "sunny")
    assert answered["messages"][1]["tool_calls"][0]["result"] == "sunny"

    fault, good = told["test_fault"]
    assert (fault["states"], fault["faults"], fault["status"]) == (["faulted"], ["overloaded"], 503)
    assert (fault["attempt"], good["attempt"], good["states"]) == (1, 2, ["scripted"])

    (socket,) = told["test_socket"]
    assert (socket["kind"], socket["model"]) == ("websocket", "gpt-socket")
    assert socket["frames"][0]["direction"] == "sent"
    assert {frame["direction"] for frame in socket["frames"][1:]} == {"received"}
    assert socket["answer"][0]["text"] == "over a socket"

    (job,) = next(test["jobs"] for test in report["tests"] if "jobs" in test)
    assert [(attempt["number"], attempt["outcome"]) for attempt in job["attempts"]] == [(1, "error"), (2, "complete")]
    assert "no answer" in job["attempts"][0]["error"]
    assert {exchange["job"] for exchange in told["test_job"]} == {job["id"]}

    (part,) = told["test_image"][0]["messages"][0]["parts"]
    assert (part["kind"], part["media_type"]) == ("image", "image/png")
    assert report["bodies"][part["body"]["key"]]["base64"] == "iVBORw0KGgo="

    for name in ("child", "block", "fixture"):
        (exchange,) = told[f"test_{name}"]
        assert (exchange["states"], exchange["number"]) == (["replayed"], 1)
    assert "in a fixture" in told["test_fixture"][0]["request_body"]
    assert told["test_fixture_again"] == []
    assert report["totals"]["scripted"] == 8


@pytest.mark.slow
def test_a_run_without_a_report_loads_nothing_of_it(project: Project) -> None:
    project.pytester.makeconftest(
        """
        import sys

        def pytest_unconfigure():
            print("LOADED", sorted(name for name in sys.modules if "report" in name or "exchange" in name))
        """
    )
    project.record(tests="def test_it(aquila_cassette): post('x')").assert_outcomes(passed=1)
    for arguments in ((), ("--aquila-report=run.json",)):
        done = project.pytester.runpytest_subprocess("-p", "no:cacheprovider", "-p", "no:xdist", *arguments)
        (loaded,) = [line for line in done.outlines if line.startswith("LOADED")]
        assert ("aquila.run_report" in loaded) == bool(arguments)
        assert ("exchange_watch" in loaded) == bool(arguments)


def test_a_job_on_github_is_told_what_needs_action(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    summary = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    tests = """
        @pytest.mark.parametrize("number", range(11))
        def test_it(aquila_cassette, number):
            post("{} <b>`code`</b>", number=number)
        """
    project.record(tests=tests.format("one"))
    assert not summary.exists()
    project.run()
    assert not summary.exists()  # nothing needs action
    project.run(tests=tests.format("two"))
    short = summary.read_text()
    assert "Requests: 11 missed.\n\n#### 11 tests miss\n\n- ``" in short
    assert "\n  - `test_app.py::test_it[1]`\n" in short
    assert "If it is meant: `pytest test_app.py --aquila-record`\n" in short
    summary.unlink()
    project.run(REPORT)
    whole = summary.read_text()
    assert "11 tests, 11 requests: 11 missed." in whole
    assert "  - … and 1 more\n" in whole
    assert "| provider.example |  | 11 | 0 | 0 |  |" in whole
    assert "``two <b>`code`</b>``" in whole


def test_an_answer_names_its_script_whatever_cassette_the_test_has(project: Project) -> None:
    tests = """
        import httpx2

        def ask():
            body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
            httpx2.post("https://api.openai.com/v1/chat/completions", json=body)

        def test_beside_a_cassette(aquila_script, aquila_cassette):
            aquila_script.reply("one")
            ask()

        @pytest.mark.aquila("greeting")
        def test_in_a_file(): ask()
        """
    project.cassettes.mkdir()
    (project.cassettes / "greeting.script.yaml").write_text("script:\n- reply: two\n")
    project.run(REPORT, tests=tests).assert_outcomes(passed=2)
    told = read_report(project.pytester.path)["tests"]
    assert [test["exchanges"][0]["script"] for test in told] == ["aquila_script", "greeting"]


@pytest.mark.parametrize(("how", "told", "verb"), [
    ("", "#### The test did not pass, so nothing in its cassette was replaced; what was recorded is kept", "accept"),
    ("=pending", "Requests: 1 recorded.\n\n#### Recorded for a review, beside the cassettes", "review"),
])  # fmt: skip
def test_a_job_on_github_is_told_of_pending_files(
    how: str, told: str, verb: str, project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    summary = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    tests = "def test_it(aquila_cassette):\n    post('one')\n    assert False\n"
    project.run(f"--aquila-record{how}", tests=tests).assert_outcomes(failed=1)
    assert summary.read_text() == (
        f"### Aquila: what the tests asked\n\n{told}\n\n"
        f"- `cassettes/test_app/test_it.pending.yaml`\n\n`aquila cassettes {verb} test_app/test_it`\n"
    )


def test_a_job_on_github_names_a_new_test_and_a_command_with_the_options_of_the_run(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    summary = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    tests = "def test_it(aquila_cassette):\n    post('one')\n"
    project.run("-m", "not slow", tests=tests).assert_outcomes(failed=1)
    assert "#### 1 test misses\n\n  - `test_app.py::test_it`\n" in summary.read_text()
    assert "To record: `pytest -m 'not slow' test_app.py::test_it --aquila-record`\n" in summary.read_text()


def test_a_job_on_github_names_a_test_once_whose_requests_miss_by_the_same_change(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    summary = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    tests = """
        def test_it(aquila_cassette):
            for number in (1, 2):
                try:
                    post("{}", number=number)
                except BaseException:
                    pass
        """
    project.record(tests=tests.format("one"))
    project.run(tests=tests.format("two")).assert_outcomes(failed=1)
    assert summary.read_text().count("pytest test_app.py::test_it --aquila-record") == 1


def test_the_xml_of_junit_has_the_facts_of_each_test(project: Project) -> None:
    tests = """
        @pytest.fixture(scope="module")
        def shared():
            post("for all")

        def test_it(aquila_cassette, shared):
            post("x")

        def test_without(shared):
            pass
        """
    project.record(tests=tests).assert_outcomes(passed=2)
    for arguments in ((), (REPORT,)):
        project.run("--junitxml=junit.xml", *arguments).assert_outcomes(passed=2)
        junit = ElementTree.parse(project.pytester.path / "junit.xml")
        told = {
            case.get("name"): {each.get("name"): each.get("value") for each in case.iter("property")}
            for case in junit.iter("testcase")
        }
        assert told["test_without"] == {}, arguments
        assert told["test_it"]["aquila.replayed"] == "1"  # the fixture ends after the last test
        assert told["test_it"]["aquila.tokens"] == "7"
        assert told["test_it"].get("aquila.requests") == ("2" if arguments else None)


def test_the_seconds_that_a_test_saved_are_thousandths_whatever_its_scopes_add_up_to(request: Any) -> None:
    item = request.node
    told = list(item.user_properties)
    for seconds in (0.1, 0.2):
        junit_facts.add_report(item, ScopeReport("scope", seconds=seconds))
    assert dict(item.user_properties)["aquila.seconds_saved"] == "0.3"
    item.user_properties[:] = told


def test_a_whole_run_names_what_waits_and_what_no_test_uses(project: Project) -> None:
    tests = """
        def test_it(aquila_cassette):
            post("x")
            assert {}

        def test_other(aquila_cassette):
            post("y")
        """
    project.record(tests=tests.format(1)).assert_outcomes(passed=2)
    project.record("--aquila-record=all", REPORT, tests=tests.format(0)).assert_outcomes(passed=1, failed=1)
    report = read_report(project.pytester.path)
    assert report["pending"] == ["cassettes/test_app/test_it.pending.yaml"]
    assert [test["states"] for test in report["tests"]] == [["recorded", "pending"], ["recorded"]]
    exchange = report["tests"][1]["exchanges"][0]
    assert (exchange["source"], exchange["number"], exchange["line"]) == ("recorded", 1, 3)
    project.run(REPORT, tests="def test_it(aquila_cassette):\n    post('x')\n")
    assert read_report(project.pytester.path)["orphans"] == ["cassettes/test_app/test_other.yaml"]
    project.run(REPORT, "-k", "test_it")
    assert read_report(project.pytester.path)["orphans"] == []


def test_a_live_run_is_told_whole(project: Project) -> None:
    tests = """
        def test_it(aquila_cassette):
            assert post("live now") == 1

        def test_unreachable():
            import httpx
            try:
                httpx.post("http://127.0.0.1:9/v1/chat/completions", json={"model": "m", "messages": []})
            except httpx.ConnectError:
                pass
        """
    project.run(REPORT, f"--aquila-transport={project.module}:transport", "-k", "test_it", tests=tests)
    (exchange,) = read_report(project.pytester.path)["tests"][0]["exchanges"]
    assert (exchange["source"], exchange["states"], exchange["status"]) == ("live", ["live"], 200)
    assert exchange["response_body"] == '{"answer":1,"usage":{"total_tokens":7}}'
    assert "live now" in exchange["request_body"]
    project.run(REPORT, "--aquila-transport=live", "-o", "aquila_providers=127.0.0.1:9", "-k", "unreachable")
    (exchange,) = read_report(project.pytester.path)["tests"][0]["exchanges"]
    assert exchange["error"].startswith("ConnectError")
    assert "status" not in exchange


@pytest.mark.parametrize("library", ["httpx", "httpx2"])
def test_what_a_client_is_answered_live_is_told_and_reaches_it(project: Project, library: str) -> None:
    pytest.importorskip(library)
    body = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}}]}
    with serving(json_answer(body), json_answer(body)) as server:
        tests = f"""
            import anyio
            import {library} as library

            URL, BODY = "{server.url}/chat/completions", {{"model": "m", "messages": []}}

            def test_sync():
                with library.Client() as client, client.stream("POST", URL, json=BODY) as answer:
                    assert answer.read()

            def test_async():
                async def ask():
                    async with library.AsyncClient() as client, client.stream("POST", URL, json=BODY) as answer:
                        assert b"Hello" in b"".join([piece async for piece in answer.aiter_bytes()])

                anyio.run(ask)
            """
        project.run(REPORT, "--aquila-transport=live", tests=tests).assert_outcomes(passed=2)
    assert {
        name: [(each["states"], each["end"], each["answer"][0]["text"]) for each in exchanges]
        for name, exchanges in exchanges_of(read_report(project.pytester.path)).items()
    } == {name: [(["live"], "complete", "Hello")] for name in ("test_sync", "test_async")}


def test_no_test_fails_because_what_it_asked_cannot_be_told(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    played = "def test_it(aquila_cassette): post('x')\n"
    project.record(tests=played).assert_outcomes(passed=1)

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError

    monkeypatch.setattr("aquila.run_report.exchanges.ExchangeReader.read", fail)
    missed = "def test_missed(aquila_cassette): post('y')"
    project.run(REPORT, tests=played + missed).assert_outcomes(passed=1, failed=1)
    report = read_report(project.pytester.path)
    assert report["totals"]["missed"] == 1
    for (exchange,) in exchanges_of(report).values():
        assert exchange["error"] == "the request cannot be shown: RuntimeError"


def test_a_request_is_reported_as_the_filters_of_its_cassette_leave_it(project: Project) -> None:
    pytest.importorskip("vcr")
    tests = """
        from aquila import vcr

        def hide(request):
            request.body = b'{"prompt":"hidden"}'
            return request

        def test_it():
            with vcr.use_cassette("x.yaml", before_record_request=hide):
                post("visible")
        """
    for run in (project.record, project.run):
        run(REPORT, tests=tests).assert_outcomes(passed=1)
        report = read_report(project.pytester.path)
        assert report["tests"][0]["exchanges"][0]["request_body"] == '{"prompt":"hidden"}'
        assert "visible" not in json.dumps(report)


def test_a_key_that_a_test_sets_and_takes_back_is_not_told(project: Project) -> None:
    tests = """
        KEY = "Ww99EeRr33TtYyUu"

        def ask(**options):
            import httpx2
            body = {"model": "m", "messages": [{"role": "user", "content": f"say {KEY}"}]}
            httpx2.post(f"https://api.openai.com/v1/chat/completions?q={KEY}", json=body, **options)

        @pytest.fixture
        def key(monkeypatch):
            with monkeypatch.context() as context:
                context.setenv("ACME_API_KEY", KEY)
                yield

        def test_script(aquila_script, key):
            aquila_script.reply(f"You said {KEY}")
            ask()

        def test_block(monkeypatch):
            with aquila.use_cassette("block"):
                with pytest.raises(BaseException):
                    post("early")
                monkeypatch.setenv("ACME_API_KEY", KEY)
                with pytest.raises(BaseException):
                    ask()
                monkeypatch.delenv("ACME_API_KEY")

        def test_refused(monkeypatch):
            monkeypatch.setenv("ACME_API_KEY", KEY)
            with pytest.raises(BaseException):
                ask()
            monkeypatch.delenv("ACME_API_KEY")
        """
    project.run(REPORT, tests=tests)
    report = read_report(project.pytester.path)
    (scripted,) = exchanges_of(report)["test_script"]
    assert scripted["messages"][0]["text"] == "say [redacted]"
    assert scripted["answer"][0]["text"] == "You said [redacted]"
    assert [each["states"] for each in exchanges_of(report)["test_block"]] == [["missed"], ["missed"]]
    assert [each["states"] for each in exchanges_of(report)["test_refused"]] == [["refused"]]
    assert "Ww99EeRr33TtYyUu" not in json.dumps(report)
