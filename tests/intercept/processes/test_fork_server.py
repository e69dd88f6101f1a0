"""Processes that are forked from multiprocessing's fork server belong to the scope in which they are started."""

from __future__ import annotations

import builtins
import json
import multiprocessing
import os
import subprocess
import sys
import textwrap
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import aquila
from aquila.cassettes.storage.cassette_files import load_cassette
from aquila.intercept.processes import child_processes
from tests.support.clients import ASKING
from tests.support.upstream import Upstream

pytestmark = pytest.mark.skipif(
    "forkserver" not in multiprocessing.get_all_start_methods(), reason="this system has no fork server"
)


def ask(url: str, prompt: str) -> str:
    """What a process does that knows nothing of Aquila."""
    import httpx2

    with httpx2.Client() as client:
        return client.post(url + "/v1/chat/completions", json={"prompt": prompt}).text


def environment_of_child(name: str) -> str | None:
    return os.environ.get(name)


def prompts(cassette: Path) -> list[str]:
    return sorted(json.loads(each.request.body)["prompt"] for each in load_cassette(cassette).interactions)


@pytest.mark.slow  # processes that load everything anew
def test_each_process_uses_the_cassette_that_is_open_when_it_is_started(root: Path, echoing: Upstream) -> None:
    context = multiprocessing.get_context("forkserver")

    for name in ("first", "second"):
        with (
            aquila.use_cassette(name, transport="record"),
            ProcessPoolExecutor(1, mp_context=context) as pool,
        ):
            assert pool.submit(ask, echoing.url, name).result() == name
    assert (prompts(root / "first.yaml"), prompts(root / "second.yaml")) == (["first"], ["second"])
    with aquila.use_cassette("first"), ProcessPoolExecutor(1, mp_context=context) as pool:
        assert pool.submit(ask, echoing.url, "first").result() == "first"
        with pytest.raises(aquila.errors.CassetteMiss, match="second"):
            pool.submit(ask, echoing.url, "second").result()
    assert len(echoing.requests) == 2


@pytest.mark.slow  # processes that load everything anew
def test_a_process_is_told_while_a_profiler_replaces_exec(
    root: Path, echoing: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute = exec

    def profiled_exec(*arguments: Any) -> None:
        execute(*arguments)

    monkeypatch.setattr(builtins, "exec", profiled_exec)
    context = multiprocessing.get_context("forkserver")
    with (
        aquila.use_cassette("profiled", transport="record"),
        ProcessPoolExecutor(1, mp_context=context) as pool,
    ):
        assert pool.submit(ask, echoing.url, "profiled").result() == "profiled"
    assert prompts(root / "profiled.yaml") == ["profiled"]


UNPACKED = """
import multiprocessing, sys
sys.path += PATH

def ask(prompt):
    import httpx2
    with httpx2.Client() as client:
        return client.post(sys.argv[1] + "/v1/chat/completions", json={"prompt": prompt}).text

if __name__ == "__main__":
    import aquila
    with aquila.use_cassette("unpacked", transport="record"):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            assert pool.apply(ask, ("unpacked",)) == "unpacked"
            pool.close()
            pool.join()
"""


@pytest.mark.slow  # processes that load everything anew
def test_a_process_joins_where_a_program_has_put_its_packages_on_the_path_itself(
    tmp_path: Path, root: Path, echoing: Upstream
) -> None:
    """As an archive of shiv or pex does: the interpreter that ``multiprocessing`` starts has none of them yet."""
    program = tmp_path / "asking.py"
    program.write_text(UNPACKED.replace("PATH", repr(sys.path)))
    variables = {name: value for name, value in os.environ.items() if name != child_processes.VARIABLE}
    command = [sys.executable, "-S", program, echoing.url]
    subprocess.run(command, check=True, env=variables, cwd=root.parent)
    assert prompts(root / "unpacked.yaml") == ["unpacked"]


def test_each_process_has_the_keys_and_the_test_of_the_moment_it_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    context = multiprocessing.get_context("forkserver")
    names = (child_processes.VARIABLE, "PYTEST_CURRENT_TEST", "OPENAI_API_KEY", "HF_TOKEN")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        pool.submit(environment_of_child, "PATH").result()  # now there is a server
    for key in ("sk-one", None):
        monkeypatch.setenv("OPENAI_API_KEY", key) if key else monkeypatch.delenv("OPENAI_API_KEY")
        with aquila.use_cassette("x", unused="ignore"), ProcessPoolExecutor(1, mp_context=context) as pool:
            assert list(pool.map(environment_of_child, names)) == [os.environ.get(name) for name in names]


PROGRAM = """
import multiprocessing, sys
import httpx2
import aquila

def ask(prompt):
    with httpx2.Client() as client:
        return client.post(sys.argv[1] + "/v1/chat/completions", json={"prompt": prompt}).text

def ask_in_child(prompt):
    with multiprocessing.get_context("forkserver").Pool(1) as pool:
        return pool.apply(ask, (prompt,))

if __name__ == "__main__":
    if sys.argv[2] == "before":
        assert ask_in_child("before") == "before"
    for name in ("first", "second"):
        with aquila.use_cassette(name, transport="record"):
            assert ask_in_child(name) == name
    assert ask_in_child("first") == "first"
"""


@pytest.mark.slow
@pytest.mark.parametrize("begin", ["before", "within"])
def test_a_program_may_start_its_server_before_within_and_behind_a_block(
    begin: str, tmp_path: Path, root: Path, echoing: Upstream
) -> None:
    program = tmp_path / "asking.py"
    program.write_text(PROGRAM)
    variables = {name: value for name, value in os.environ.items() if name != child_processes.VARIABLE}
    command = [sys.executable, "-W", "error", program, echoing.url, begin]
    subprocess.run(command, check=True, env=variables, cwd=root.parent)
    assert (prompts(root / "first.yaml"), prompts(root / "second.yaml")) == (["first"], ["second"])
    asked = [json.loads(body)["prompt"] for _, body in echoing.requests]
    assert asked == [*(["before"] if begin == "before" else []), "first", "second", "first"]


TESTS = """
import concurrent.futures, multiprocessing
import pytest
import asking

multiprocessing.set_start_method("forkserver", force=True)

def child(prompt):
    with concurrent.futures.ProcessPoolExecutor(1) as pool:
        return pool.submit(asking.ask, "{url}", prompt).result()

@pytest.mark.parametrize("name", ["one", "two"])
def test_it(name, aquila_cassette):
    assert child(name) == name

def test_nothing_is_open():
    process = multiprocessing.Process(target=asking.ask, args=("{url}", "none"))
    process.start()
    process.join()
    assert process.exitcode == 0

def test_a_miss(aquila_cassette):
    with pytest.raises(Exception):
        child("not recorded")
"""


@pytest.mark.slow
def test_a_server_that_serves_many_tests_tells_each_its_own(pytester: pytest.Pytester, echoing: Upstream) -> None:
    pytester.makepyfile(asking=ASKING, test_it=textwrap.dedent(TESTS).replace("{url}", echoing.url))
    pytester.makeini("[pytest]\naquila_providers = 127.0.0.1\n")
    plain = ("-p", "no:cacheprovider", "-p", "no:xdist")
    pytester.runpytest_subprocess("--aquila-record", "-k", "one or two", *plain).assert_outcomes(passed=2, deselected=2)
    for name in ("one", "two"):
        assert prompts(pytester.path / "cassettes" / "test_it" / f"test_it-{name}.yaml") == [name]
    echoing.script = lambda path, body: pytest.fail("reached in a replay")
    files = {path: path.read_bytes() for path in (pytester.path / "cassettes").rglob("*.yaml")}
    result = pytester.runpytest_subprocess(*plain)
    result.assert_outcomes(passed=2, failed=2)
    result.stdout.fnmatch_lines(["FAILED *::test_nothing_is_open - *", "FAILED *::test_a_miss - *"])
    # Recording again what matches keeps everything: what a child plays counts as used.
    pytester.runpytest_subprocess("--aquila-record", "-k", "one or two", *plain).assert_outcomes(passed=2, deselected=2)
    assert {path: path.read_bytes() for path in (pytester.path / "cassettes").rglob("*.yaml")} == files
    assert len(echoing.requests) == 2


OTHER_TESTS = """
import multiprocessing, os
from concurrent.futures import ProcessPoolExecutor
from unittest import mock

import pytest
import asking

FORKSERVER = multiprocessing.get_context("forkserver")

def child(prompt):
    with ProcessPoolExecutor(1, mp_context=FORKSERVER) as pool:
        return pool.submit(asking.ask, "{url}", prompt).result()

def test_that_is_live(monkeypatch):
    monkeypatch.setenv("AQUILA_TRANSPORT", "live")
    monkeypatch.setenv("AQUILA_GUARD", "off")
    assert child("meant") == "meant"

def test_without_a_cassette():
    with pytest.raises(Exception, match="was refused(.|\\\\n)*test_it.py::test_without_a_cassette"):
        child("not meant")

def test_with_a_cassette(aquila_cassette):
    with pytest.raises(Exception, match="no recording|nothing is recorded"):
        child("not meant")

def test_that_clears_its_environment(aquila_cassette):
    with mock.patch.dict(os.environ, {"PATH": os.environ["PATH"]}, clear=True):
        with pytest.raises(Exception, match="no recording|nothing is recorded"):
            child("not meant")

def test_that_clears_its_environment_without_a_cassette():
    with mock.patch.dict(os.environ, {"PATH": os.environ["PATH"]}, clear=True):
        with pytest.raises(Exception, match="was refused"):
            child("not meant")
"""


@pytest.mark.slow
def test_settings_of_one_test_are_not_those_of_what_a_later_one_starts(
    pytester: pytest.Pytester, echoing: Upstream
) -> None:
    pytester.makepyfile(asking=ASKING, test_it=textwrap.dedent(OTHER_TESTS).replace("{url}", echoing.url))
    pytester.makeini("[pytest]\naquila_providers = 127.0.0.1\n")
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:randomly")
    assert [json.loads(body)["prompt"] for _, body in echoing.requests] == ["meant"]
    result.stdout.no_fnmatch_line("*DID NOT RAISE*")
    result.stdout.no_fnmatch_line("*Regex pattern did not match*")


def places_here() -> object:
    from aquila.intercept.queues.parent_queues import QueuesOfParent
    from aquila.recording import runtime

    return runtime.process_run().state_of(QueuesOfParent).places


def test_each_process_lets_jobs_into_the_queues_of_the_moment_it_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    context = multiprocessing.get_context("forkserver")
    found = []
    for places in ('["a"]', '["b"]', None):
        monkeypatch.setenv("AQUILA_QUEUES", places) if places else monkeypatch.delenv("AQUILA_QUEUES")
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            found.append(pool.submit(places_here).result())
    assert found == [["a"], ["b"], None]
