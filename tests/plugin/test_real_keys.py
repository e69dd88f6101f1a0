"""Real keys without a known shape: a replay shows dummies instead, and redacts the keys all the same."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path

import pytest

from aquila.cassettes.storage.cassette_files import load_cassette
from tests.plugin.conftest import Project

KEY = "q7Zr2mXv9KpLw4TbN8sYc3Hd6GfJ1aEu"

APP = """
    import os
    import aquila

    KEY = os.environ.get("MISTRAL_API_KEY")  # when it is imported, as many applications do

    def post(prompt, place="body"):
        url, body = "https://provider.example/v1/x", {"prompt": prompt}
        if place == "body":
            body["credentials"] = {"use": KEY}
        elif place == "url":
            url += f"/{KEY}/y?who={KEY}"
        elif place == "late":
            body["use"] = os.environ["MISTRAL_API_KEY"]
        with aquila.http_client() as http:
            return http.post(url, json=body).json()["answer"]
    """


@pytest.fixture
def machine(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project on a machine with a key."""
    monkeypatch.setenv("MISTRAL_API_KEY", KEY)
    project.pytester.makepyfile(app=textwrap.dedent(APP))
    return project


def asking(prompt: str, place: str) -> str:
    return f"def test_it(aquila_cassette):\n    assert post({prompt!r}, {place!r}) == 1\n"


def shown(result: pytest.RunResult, junit: Path) -> str:
    return "\n".join([*result.outlines, *result.errlines, junit.read_text()])


def test_a_recording_replays_on_the_machine_that_made_it_and_on_one_with_another_key(
    machine: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = ("body", "url", "late")
    tests = "\n".join(
        f"def test_{place}(aquila_cassette):\n    assert post('hi', {place!r}) == {number}\n"
        for number, place in enumerate(places, 1)
    )
    machine.record("-p", "no:randomly", tests=tests).assert_outcomes(passed=3)
    for place in places:
        assert KEY not in (machine.cassettes / "test_app" / f"test_{place}.yaml").read_text()
    machine.run().assert_outcomes(passed=3)
    assert os.environ["MISTRAL_API_KEY"] == KEY
    monkeypatch.setenv("MISTRAL_API_KEY", "another-KEY-9f8e7d6c5b4a39281706")
    machine.run().assert_outcomes(passed=3)
    assert len(machine.calls) == 3


def test_what_a_passing_test_writes_does_not_show_the_key_in_the_xml(
    machine: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_TOKEN", KEY[::-1])  # no key of a provider, so no dummy takes its place
    tests = """
        import aquila, app, logging, os, pytest

        @pytest.fixture
        def end(request):
            yield
            print("teardown of", request.node.name, os.environ["SOME_TOKEN"])

        def write(name):
            print("printed by", name, os.environ["SOME_TOKEN"])
            logging.warning("logged by %s %s", name, os.environ["SOME_TOKEN"])

        def test_fixture(end, aquila_cassette):
            assert app.post("hi")
            write("test_fixture")

        def test_block(end, aquila_refusals):
            with aquila.use_cassette("one"):
                assert app.post("hi")
            write("test_block")
        """
    machine.record(tests=tests).assert_outcomes(passed=2)
    junit = machine.pytester.path / "junit.xml"
    result = machine.run(f"--junitxml={junit}", "-o", "junit_logging=all", "-rA", tests=tests)
    result.assert_outcomes(passed=2)
    text = shown(result, junit)
    for name in ("test_fixture", "test_block"):
        for word in ("printed by", "logged by", "teardown of"):
            assert f"{word} {name} [redacted]" in text
    assert KEY[::-1][:8] not in text
    assert KEY[::-1][-8:] not in text


def test_rules_of_plugins_hold_for_a_miss_and_for_what_it_was_compared_with(machine: Project) -> None:
    machine.pytester.makeconftest(
        """
        import re
        import aquila
        from aquila.hookspecs import hookimpl

        class Plugin:
            @hookimpl
            def aquila_redactors(self):
                return [lambda text: re.sub("patient [0-9]+", "patient X", text)]

        plugin = Plugin()

        def pytest_configure():
            aquila.register(plugin)

        def pytest_unconfigure():
            aquila.unregister(plugin)
        """
    )
    machine.record(tests=asking("patient 4711 hi", "none")).assert_outcomes(passed=1)
    machine.run(tests=asking("patient 4712 hi", "none")).assert_outcomes(passed=1)
    junit = machine.pytester.path / "junit.xml"
    report = machine.pytester.path / "drift.json"
    result = machine.run("--showlocals", f"--junitxml={junit}", tests=asking("patient 4713 ho", "none"))
    result.assert_outcomes(failed=1)
    machine.run(f"--aquila-drift={report}", tests=asking("patient 4713 ho", "none"))
    text = shown(result, junit) + report.read_text()
    assert "patient X" in text
    assert "patient 4713" not in text


@pytest.mark.slow
def test_a_worker_knows_the_key_too(machine: Project) -> None:
    machine.record(tests=asking("hi", "body")).assert_outcomes(passed=1)

    def distributed(*arguments: str) -> pytest.RunResult:
        return machine.pytester.runpytest_subprocess("-n1", "-p", "no:cacheprovider", *arguments)

    distributed().assert_outcomes(passed=1)
    machine.pytester.makefile(".txt", key=KEY)  # in the environment a replay has a dummy
    machine.pytester.makepyfile(
        test_app="from app import post\n" + asking("ho", "body").replace("'ho'", "'ho ' + open('key.txt').read()")
    )
    junit = machine.pytester.path / "junit.xml"
    result = distributed(f"--junitxml={junit}")
    result.assert_outcomes(failed=1)
    assert "recorded 'hi', now 'ho [redacted]'" in shown(result, junit)
    assert KEY not in shown(result, junit)


CHILD = """
    import subprocess, sys
    import app

    def ask(key):
        code = "import sys, app; app.KEY = sys.stdin.read(); print(app.post('hi'))"
        return subprocess.run([sys.executable, "-c", code], input=key, capture_output=True, text=True)

    def test_it(aquila_cassette):
        import os
        assert {key!r} not in "".join(os.environ.values()) or {recording}
        done = ask(app.KEY)
        assert done.stdout.strip() == "1", done.stderr
    """


@pytest.mark.slow
def test_a_child_that_is_handed_the_key_replays_and_finds_it_nowhere_else(machine: Project) -> None:
    def run(*arguments: str, recording: bool) -> pytest.RunResult:
        code = textwrap.dedent(CHILD).format(key=KEY, recording=recording)
        machine.pytester.makepyfile(test_app=code)
        upstream = f"--aquila-upstream={machine.module}:transport"
        return machine.pytester.runpytest_subprocess("-p", "no:cacheprovider", "-p", "no:xdist", upstream, *arguments)

    run("--aquila-record", recording=True).assert_outcomes(passed=1)
    (stored,) = load_cassette(machine.cassettes / "test_app" / "test_it.yaml").interactions
    assert b"[redacted]" in stored.request.body
    run(recording=False).assert_outcomes(passed=1)
    assert len(machine.calls) == 1
