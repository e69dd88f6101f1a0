"""A suite in the style of pytest-recording, with everything of it that suites use, runs unchanged.

What comes of each of its tests is what came of it with pytest-recording.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.migrating.sample_run import CASSETTER_PROJECT, EXPECTED, PROJECT, RUNS, copy_project, run_project, serve

AQUILA = ("-o", "aquila_vcr_compat=true", "-W", "error", "-p", "no:recording")
NOTES = (
    "aquila: vcr: register_serializer has no effect beyond reading: cassettes are written in Aquila's own format",
    "aquila: vcr: the serializer lines has no effect beyond reading: cassettes are written in Aquila's own format",
    "aquila: vcr: no_such_option has no effect: neither vcrpy nor Aquila knows it",
)


@pytest.mark.slow
def test_each_test_has_the_same_outcome_as_with_pytest_recording(tmp_path: Path) -> None:
    with serve() as server:
        found, printed = run_project(copy_project(tmp_path / "project"), *AQUILA, server=server)
    assert found == json.loads((PROJECT / EXPECTED).read_text())[0]
    lines = printed.splitlines()
    assert [lines.count(note) for note in NOTES] == [1, 1, 1]
    assert any("have another content than recorded, which" in line for line in lines)


@pytest.mark.long(15)
@pytest.mark.slow
def test_it_records_and_replays(tmp_path: Path) -> None:
    expected = json.loads((PROJECT / EXPECTED).read_text())
    project = copy_project(tmp_path / "project")
    with serve() as server:
        for run, outcomes in zip(RUNS, expected, strict=True):
            assert run_project(project, *AQUILA, *run, server=server)[0] == outcomes
    text = (project / "tests/cassettes/test_network/test_records_by_its_mark.yaml").read_text()
    assert "aquila" in text.partition("\n")[0]
    assert not {"secret", "signature", "x-request-id"} & set(text.replace(":", " ").split())


@pytest.mark.slow
def test_it_runs_in_several_processes(tmp_path: Path) -> None:
    with serve() as server:
        found, printed = run_project(copy_project(tmp_path / "project"), *AQUILA, "-n", "2", server=server)
    expected = json.loads((PROJECT / EXPECTED).read_text())[0]
    # It counts what its hook was called for, and each process calls it for its own tests.
    counting = "tests/test_filters.py::test_the_hook_was_called"
    assert {**found, counting: ""} == {**expected, counting: ""}
    assert [printed.splitlines().count(note) for note in NOTES] == [1, 1, 1]


@pytest.mark.slow
def test_each_test_of_a_cassetter_suite_has_the_same_outcome_as_with_cassetter(tmp_path: Path) -> None:
    expected = json.loads((CASSETTER_PROJECT / EXPECTED).read_text())
    project = copy_project(tmp_path / "project", CASSETTER_PROJECT)
    aquila = ("-o", "aquila_cassetter_compat=true", "-W", "error", "-p", "no:cassetter")
    with serve() as server:
        found, printed = run_project(project, *aquila, server=server)
        assert found == expected[0]
        for run, outcomes in zip(RUNS[1:], expected[1:], strict=True):
            assert run_project(project, *aquila, *run, server=server)[0] == outcomes
    assert printed.splitlines().count("aquila: cassetter: intercept has no effect") == 1
