"""Child processes belong to the scope that was open when they were started: they replay from it and record into it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import aquila
from aquila.cassettes.storage.cassette_files import load_cassette
from aquila.intercept import child_processes
from tests.support.upstream import Answer, Upstream

ASK = """
    import sys
    import httpx2

    def ask(url, prompt):
        with httpx2.Client() as client:
            return client.post(url + "/v1/chat/completions", json={"prompt": prompt}).text

    if __name__ == "__main__":
        print(ask(*sys.argv[1:]))
"""
"""A program that knows nothing of Aquila."""

TESTS = """
    import multiprocessing, subprocess, sys
    import pytest
    import asking

    URL = "{url}"

    def child(method, prompt):
        if method == "subprocess":
            command = [sys.executable, "asking.py", URL, prompt]
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        context = multiprocessing.get_context(method)
        with context.Pool(1) as pool:
            return pool.apply(asking.ask, (URL, prompt))

    @pytest.mark.parametrize("method", ["subprocess", "spawn", "fork"])
    @pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
    def test_it(method, aquila_cassette):
        assert asking.ask(URL, "parent") == "parent"
        assert child(method, "child") == "child"

    @pytest.mark.aquila("named")
    def test_named():
        assert child("subprocess", "named") == "named"
"""


@pytest.fixture
def echoing(server: Upstream) -> Upstream:
    server.script = lambda path, body: Answer(chunks=[json.loads(body)["prompt"].encode()])
    return server


def test_children_of_a_test_record_into_its_cassette_and_replay_from_it(
    pytester: pytest.Pytester, echoing: Upstream
) -> None:
    pytester.makepyfile(asking=textwrap.dedent(ASK), test_it=textwrap.dedent(TESTS).format(url=echoing.url))
    plain = ("-p", "no:cacheprovider", "-p", "no:xdist")
    recorded = pytester.runpytest_subprocess("--aquila-record", *plain)
    recorded.assert_outcomes(passed=4)
    assert sorted(json.loads(body)["prompt"] for _, body in echoing.requests) == 3 * ["child"] + ["named"] + 3 * [
        "parent"
    ]
    for method in ("subprocess", "spawn", "fork"):
        stored = load_cassette(pytester.path / "cassettes" / "test_it" / f"test_it[{method}].yaml")
        prompts = sorted(json.loads(interaction.request.body)["prompt"] for interaction in stored.interactions)
        assert prompts == ["child", "parent"]
    echoing.script = lambda path, body: pytest.fail("reached in a replay")
    files = {path: path.read_bytes() for path in (pytester.path / "cassettes").rglob("*.yaml")}
    pytester.runpytest_subprocess(*plain).assert_outcomes(passed=4)
    # Recording again what matches keeps everything: what a child plays counts as used.
    pytester.runpytest_subprocess("--aquila-record", *plain).assert_outcomes(passed=4)
    assert {path: path.read_bytes() for path in (pytester.path / "cassettes").rglob("*.yaml")} == files
    assert len(echoing.requests) == 7


def test_a_miss_in_a_child_fails_there_and_nothing_goes_out(pytester: pytest.Pytester, echoing: Upstream) -> None:
    pytester.makepyfile(asking=textwrap.dedent(ASK), test_it=textwrap.dedent(TESTS).format(url=echoing.url))
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-k", "test_named", "-s")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*CalledProcessError*"])
    assert echoing.requests == []


def test_outside_pytest_a_block_covers_children_that_use_aquila(tmp_path: Path, root: Path, echoing: Upstream) -> None:
    program = tmp_path / "asking.py"
    program.write_text("import aquila\n" + textwrap.dedent(ASK))

    def ask() -> str:
        done = subprocess.run([sys.executable, program, echoing.url, "hi"], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    with aquila.use_cassette("x", transport="record"):
        assert ask() == "hi"
    assert len(load_cassette(root / "x.yaml").interactions) == 1
    with aquila.use_cassette("x"):
        assert ask() == "hi"
    assert len(echoing.requests) == 1


def test_cassettes_beside_each_other_are_not_guessed_between(root: Path) -> None:
    def stamped() -> str | None:
        inherited = json.loads(os.environ[child_processes.VARIABLE])
        return inherited["scope"]["default_cassette"] if "scope" in inherited else None

    before = os.environ.get(child_processes.VARIABLE)
    outer = aquila.use_cassette("outer")
    with outer:
        assert stamped() == "outer"
        with aquila.use_cassette("inner"):
            assert stamped() == "inner"
        assert stamped() == "outer"
        from aquila.recording import scope as scopes

        beside = scopes.Scope(kind="test", default_cassette="beside")
        scopes.open_scope(beside)
        assert stamped() is None
        scopes.remove_scope(beside)
        beside.close()
        assert stamped() == "outer"
    assert os.environ.get(child_processes.VARIABLE) == before


@pytest.mark.parametrize("damaged", ["", "{", "[]", '{"around": null}', '{"around": {"root": 1}}'])
def test_a_damaged_stamp_does_no_harm(damaged: str) -> None:
    surroundings = {**os.environ, child_processes.VARIABLE: damaged}
    surroundings.pop("PYTHONPATH", None)
    subprocess.run([sys.executable, "-W", "error", "-c", "import aquila; aquila.ask"], check=True, env=surroundings)


def test_another_sitecustomize_still_runs(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("print('mine', __name__)\n")
    path = os.pathsep.join([child_processes.SITE_FOLDER, str(tmp_path)])
    for stamp in ({}, {child_processes.VARIABLE: os.environ.get(child_processes.VARIABLE, "")}):
        surroundings = {**os.environ, "PYTHONPATH": path, **stamp}
        command = [sys.executable, "-c", f"import sys; print({child_processes.SITE_FOLDER!r} in sys.path)"]
        done = subprocess.run(command, check=True, env=surroundings, capture_output=True, text=True)
        assert done.stdout.splitlines() == ["mine sitecustomize", "False"]
