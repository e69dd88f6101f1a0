"""``--aquila-report``: what the tests asked and what answered, as data."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.plugin.conftest import Project

REPORT = "--aquila-report=run.json"


@pytest.fixture
def read(project: Project) -> Callable[[], Any]:
    """Reads the report that the last run has written."""
    return lambda: json.loads((project.pytester.path / "run.json").read_text())


def test_a_replay_and_a_miss_and_a_refusal_are_told_by_value(project: Project, read: Callable[[], Any]) -> None:
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
    report = read()
    assert report["schema"] == 1
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

    exchange = missed["exchanges"][0]
    assert exchange["states"] == ["missed"]
    assert exchange["drift"]["changes"] == [{"path": "prompt", "was": "one word", "now": "another word"}]
    assert "prompt differs" in exchange["problem"]
    assert (refused["states"], refused["exchanges"][0]["host"]) == (["refused"], "api.openai.com")
    assert not list(project.pytester.path.glob("run.json.partial*"))
