"""``pytest --aquila-faults`` and the marker, for programs that talk over WebSockets. With real forks."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

import tests.support.preloaded  # noqa: F401

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

APP = """
import json
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

URL = "wss://api.openai.com/v1/responses"


def once():
    told = ""
    with connect(URL) as connection:
        connection.send(json.dumps({"type": "response.create", "model": "m", "input": "count"}))
        for message in connection:
            event = json.loads(message)
            if event["type"] == "response.output_text.delta":
                told += event["delta"]
            elif event["type"] in ("response.completed", "response.incomplete"):
                return told
            elif event["type"] == "error":
                raise RuntimeError(event["error"]["message"])
    raise ConnectionError("ended early")


def patient():
    for _ in range(3):
        try:
            return once()
        except (ConnectionClosed, ConnectionError, InvalidStatus, json.JSONDecodeError):
            continue
    return once()


def careless():
    told = ""
    with connect(URL) as connection:
        connection.send(json.dumps({"type": "response.create", "model": "m", "input": "count"}))
        for message in connection:
            event = json.loads(message)
            told += event["delta"] if event["type"] == "response.output_text.delta" else ""
            if event["type"] == "response.completed":
                break
    return told
"""


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makepyfile(app=APP)
    pytester.syspathinsert()
    folder = pytester.mkdir("cassettes")
    (folder / "counting.script.yaml").write_text("script:\n- when: count\n  reply: one two three\n", encoding="utf-8")
    return pytester


def report_of(project: pytest.Pytester, faults: str) -> dict[tuple[str, str], str]:
    """The verdict on each test of a run under faults."""
    project.runpytest_inprocess(
        "-p", "no:cacheprovider", "-p", "no:xdist", f"--aquila-faults={faults}", "--aquila-faults-json=report.json"
    )
    report: dict[str, Any] = json.loads((project.path / "report.json").read_text(encoding="utf-8"))
    assert report["not_run"] == []
    return {(run["test"].partition("::")[2], run["fault"]): run["verdict"] for run in report["runs"]}


PROGRAMS = """
import app
import pytest

pytestmark = pytest.mark.aquila("counting")

def test_patient():
    assert app.patient() == "one two three"

def test_careless():
    app.careless()

def test_once():
    assert app.once() == "one two three"
"""

VERDICTS = {
    ("test_patient", "cut_stream"): "held",
    ("test_patient", "unauthorized"): "held",
    ("test_patient", "end_early"): "held",
    ("test_careless", "cut_stream"): "clear",
    ("test_careless", "unauthorized"): "clear",
    ("test_careless", "end_early"): "accepted",
    ("test_once", "cut_stream"): "clear",
    ("test_once", "unauthorized"): "clear",
    ("test_once", "end_early"): "clear",
}
"""The verdicts on these programs, wherever their answers come from."""


@pytest.mark.slow
def test_programs_are_judged_by_what_they_do_with_a_conversation(project: pytest.Pytester) -> None:
    project.makepyfile(PROGRAMS)
    verdicts = report_of(project, "cut_stream,unauthorized,one_byte,end_early")
    assert verdicts == VERDICTS


def test_markers_and_the_fixture_bring_faults_and_say_when_none_was_met(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import app
        import pytest

        @pytest.mark.aquila("counting", faults="abnormal_close(code=1012, after=5), overloaded")
        def test_marked():
            assert app.patient() == "one two three"

        def test_fixture(aquila_script, aquila_faults):
            aquila_script.when("count").reply("one two three")
            with aquila_faults.cut_stream(times=2) as plan:
                assert app.patient() == "one two three"
            assert plan.met == 2

        @pytest.mark.aquila("counting", faults="one_byte")
        def test_in_vain():
            app.once()

        @pytest.mark.aquila("counting", faults="cut_stream(after=50)")
        def test_too_late():
            app.once()
        """
    )
    result = project.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:xdist")
    result.assert_outcomes(passed=2, failed=2)
    result.stdout.fnmatch_lines_random(
        [
            "*one_byte: it does not apply to WebSockets*These do: cut_stream, *",
            "*cut_stream(after=50): the provider sends * messages, so nothing is left after 50*",
        ]
    )


def test_a_fault_that_a_recorded_conversation_cannot_have_is_an_error_before_its_test(project: pytest.Pytester) -> None:
    (project.path / "cassettes" / "talk.yaml").write_text(
        """aquila: 1
interactions:
- kind: websocket
  request:
    method: GET
    url: wss://api.openai.com/v1/responses
  response:
    status: 101
    frames:
    - '>':
        type: response.create
        input: count
        model: m
    - '<':
        type: response.completed
...
""",
        encoding="utf-8",
    )
    project.makepyfile(
        """
        import pytest

        @pytest.mark.aquila("talk", faults="split_events")
        def test_it():
            pass
        """
    )
    result = project.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:xdist")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*split_events: it does not apply to WebSockets*"])


@pytest.mark.slow
def test_a_program_behind_the_server_is_judged_by_what_it_takes_from_its_connection(project: pytest.Pytester) -> None:
    project.makepyfile(
        PROGRAMS
        + """
@pytest.fixture(autouse=True)
def behind_server(aquila_server, monkeypatch):
    monkeypatch.setattr(app, "URL", "ws" + aquila_server.base_url.removeprefix("http") + "/responses")
"""
    )
    verdicts = report_of(project, "cut_stream,unauthorized,end_early")
    assert verdicts == VERDICTS
