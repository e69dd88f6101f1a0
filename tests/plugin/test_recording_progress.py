"""A run that records says after each test what it has recorded: of which model, how long it took, and its tokens."""

from __future__ import annotations

import re

import pytest

from aquila.recording.reporting.played_answers import RecordedAnswer
from pytest_aquila.recording_runs.recording_progress import describe_recording, name_models
from tests.plugin.conftest import Project
from tests.support.slow import slow_but

TESTS = """
    import app

    def test_one(aquila_cassette):
        post("one")

    def test_replays(aquila_cassette):
        pass

    def test_two(aquila_cassette):
        post("two")
        with aquila.use_cassette("block"):
            post("three")
        assert app.post_in_fork("child") == 0

    def test_fails(aquila_cassette):
        post("fails")
        assert 0
"""

RECORDED = [
    "  test_app.py::test_one  provider.example  0.0 s  7 tokens",
    "  test_app.py::test_two  3 answers  provider.example  0.0 s  21 tokens",
    "  test_app.py::test_fails  provider.example  0.0 s  7 tokens  pending",
]


def progress_in(result: pytest.RunResult) -> list[str]:
    """The lines of progress, without what pytest adds to them, and with no time."""
    lines = [re.sub(r"\s*(\x1b| \[).*", "", line) for line in result.outlines if " provider.example " in line]
    return [re.sub(r"\d\.\d s", "0.0 s", line) for line in lines]


WITH_COLOUR = ("-p", "no:cacheprovider", "--color=yes")


@pytest.mark.parametrize("arguments", slow_but([WITH_COLOUR], [(), ("-v",), ("-s",), WITH_COLOUR]))
def test_each_test_says_what_it_has_recorded(project: Project, arguments: tuple[str, ...]) -> None:
    assert progress_in(project.record(*arguments, tests=TESTS)) == RECORDED
    assert progress_in(project.run(*arguments)) == []


def test_a_quiet_run_says_nothing_and_one_without_a_terminal_neither(project: Project) -> None:
    assert progress_in(project.record("-q", "-k", "one", tests=TESTS)) == []
    result = project.record("-p", "no:terminal", "-k", "one")
    assert progress_in(result) == []
    assert "aquila" not in result.stdout.str()


def test_a_failure_is_named_in_its_line_and_among_the_pending_recordings(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        provider="""
        import httpx2

        def handle(request):
            if b"reach" in request.content:
                raise httpx2.ConnectError("Name or service not known")
            return httpx2.Response(401, json={"error": "Incorrect API key provided"})

        def transport():
            return httpx2.MockTransport(handle)
        """
    )
    pytester.makepyfile(
        """
        import aquila, httpx2, pytest

        def ask(text):
            with aquila.http_client() as http:
                return http.post("https://provider.example/v1/x", json={"prompt": text}).json()["answer"]

        def test_with_a_wrong_key(aquila_cassette):
            ask("hi")

        def test_without_a_network(aquila_cassette):
            ask("reach")
        """
    )
    pytester.syspathinsert()
    lines = [
        line.partition("provider.example  ")[2]
        for line in pytester.runpytest_inprocess("--aquila-record", "--aquila-upstream=provider:transport").outlines
        if "  provider.example  " in line
    ]
    assert [line.partition(")")[0] for line in lines] == ["failed (401", "failed (no answer"]
    # Where nothing has answered nothing waits.
    waiting = [line for line in pytester.runpytest_inprocess().outlines if "1 recording, 1 failed" in line]
    assert [line.partition("1 failed ")[2].partition(",")[0] for line in waiting] == ["(401)"]


@pytest.mark.slow
def test_workers_send_it_to_the_terminal(project: Project) -> None:
    project.record("--co", tests=TESTS)
    upstream = f"--aquila-upstream={project.module}:transport"
    result = project.pytester.runpytest_subprocess("-n2", "-p", "no:cacheprovider", "--aquila-record", upstream)
    assert sorted(progress_in(result)) == sorted(RECORDED)
    assert all(line.startswith("  ") for line in result.outlines if " provider.example " in line)


ROW = {
    "test": "t.py::test_it",
    "answers": 1,
    "models": ["h m"],
    "failures": [],
    "seconds": 2.345,
    "tokens": 1412,
    "is_pending": False,
}


@pytest.mark.parametrize(
    ("changes", "width", "lines"),
    [
        ({}, 80, ["  t.py::test_it  h m  2.3 s  1,412 tokens"]),
        ({}, 30, ["  t.py::test_it", "    h m  2.3 s  1,412 tokens"]),
        ({"tokens": 0}, 80, ["  t.py::test_it  h m  2.3 s"]),
        ({"tokens": 1}, 80, ["  t.py::test_it  h m  2.3 s  1 token"]),
        ({"tokens": 0, "failures": ["401"]}, 80, ["  t.py::test_it  h m  failed (401)  2.3 s"]),
        (
            {"tokens": 0, "answers": 5, "failures": ["no answer", "429", "429"]},
            80,
            ["  t.py::test_it  5 answers  h m  3 failed (no answer, 429)  2.3 s"],
        ),
        ({"models": ["h m", "i n"], "tokens": 0}, 80, ["  t.py::test_it  h m  and 1 more  2.3 s"]),
        ({"models": ["h \x1b[2J\n"]}, 80, ["  t.py::test_it  h \\x1b[2J  2.3 s  1,412 tokens"]),
        ({"test": "ü" * 300}, 80, ["  " + "ü" * 300, "    h m  2.3 s  1,412 tokens"]),
    ],
)
def test_a_line_has_what_is_known(changes: dict[str, object], width: int, lines: list[str]) -> None:
    assert describe_recording({**ROW, **changes}, width) == lines


def test_a_host_alone_is_named_where_no_answer_of_it_names_a_model() -> None:
    told = [("a.example", ""), ("a.example", "m"), ("b.example", ""), ("a.example", "n"), ("a.example", "m")]
    answers = [RecordedAnswer(host, model, 0.1, 0) for host, model in told]
    assert name_models(answers) == ["a.example m", "b.example", "a.example n"]
