"""The tests of each example pass where its users run them: in its folder, from its cassettes, without a network."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
EXAMPLES = sorted(path.parent.name for path in HERE.glob("*/pyproject.toml"))

# Refuses every connection of the example's tests, in their own process, and reports that it was loaded.
GUARD = """
import sys

def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        raise PermissionError(f"a replay made a connection: {event} {arguments[1:]}")

sys.addaudithook(refuse)
print("guarded")
"""


@pytest.mark.slow
@pytest.mark.parametrize("example", EXAMPLES)
def test_the_tests_of_an_example_replay_from_its_cassettes(example: str, tmp_path: Path) -> None:
    project = tmp_path / example
    shutil.copytree(HERE / example, project, ignore=shutil.ignore_patterns("data", "__pycache__", ".*"))
    (tmp_path / "guard").mkdir()
    (tmp_path / "guard" / "sitecustomize.py").write_text(GUARD)
    before = cassettes(project)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "AQUILA_"))}

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--aquila-orphans"],
        check=False,
        cwd=project,
        env={**environment, "PYTHONPATH": str(tmp_path / "guard")},
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("guarded")
    summary = re.search(r"aquila: (\d+) replayed, 0 recorded, 0 missed", done.stdout)
    assert summary, done.stdout
    assert int(summary[1]) > 0
    assert "no test used" not in done.stdout
    assert before
    assert cassettes(project) == before


COLUMNS = {
    "test_a_summary_and_the_raw_answer_are_stored": "a summary",
    "test_every_chunk_of_a_stream_is_stored_in_order": "a stream",
    "test_a_job_that_is_run_again_replaces_what_the_first_attempt_stored": "a second run",
    "test_what_is_enqueued_runs_and_can_be_shown": "the command",
    "test_a_real_worker_does_what_was_enqueued": "a worker",
}
"""The tests of the example of which its README has a table, each with the head of its column."""


def run_under_faults(project: Path, *arguments: str) -> tuple[int, str, dict[tuple[str, str], str]]:
    """Return the exit code, what was printed, and the verdict on each test and fault."""
    shutil.copytree(HERE / "summaries", project, ignore=shutil.ignore_patterns("data", "__pycache__", ".*"))
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "AQUILA_"))}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--aquila-faults-json=report.json", *arguments]
    pipe = subprocess.PIPE
    done = subprocess.run(
        command, check=False, cwd=project, env=environment, stdout=pipe, stderr=subprocess.STDOUT, text=True
    )
    report = json.loads((project / "report.json").read_text())
    assert report["not_run"] == [], done.stdout
    found = {(row["test"].partition("::")[2], row["fault"]): row["verdict"] for row in report["runs"]}
    return done.returncode, done.stdout, found


def read_table() -> dict[tuple[str, str], str]:
    """Return the verdict in the README on each test and fault."""
    lines = (HERE / "summaries" / "README.md").read_text().splitlines()
    begin = lines.index(f"| fault | {' | '.join(COLUMNS.values())} |") + 2
    table = {}
    for line in lines[begin : lines.index("", begin)]:
        fault, *verdicts = (cell.strip(" `") for cell in line.strip("|").split("|"))
        table |= {(test, fault): verdict for test, verdict in zip(COLUMNS, verdicts, strict=True)}
    return table


@pytest.mark.long(50)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.slow
@pytest.mark.nightly
def test_the_table_of_faults_is_what_a_run_gives(tmp_path: Path) -> None:
    code, output, found = run_under_faults(tmp_path / "summaries", "-n2", "--aquila-faults")
    assert (code, found) == (0, read_table()), output


@pytest.mark.long(20)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.slow
def test_a_part_of_the_table_of_faults_is_what_a_run_gives(tmp_path: Path) -> None:
    table = read_table()
    chosen = sorted({fault for _, fault in table})[::8]
    code, output, found = run_under_faults(
        tmp_path / "summaries", "-p", "no:xdist", f"--aquila-faults={','.join(chosen)}"
    )
    assert (code, found) == (0, {row: verdict for row, verdict in table.items() if row[1] in chosen}), output


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_rows_of_the_table_of_faults_are_what_a_run_of_one_test_gives(tmp_path: Path) -> None:
    test = "test_a_summary_and_the_raw_answer_are_stored"
    faults = ("end_early", "finish_length")
    chosen = ("-p", "no:xdist", f"tests/test_tasks.py::{test}", f"--aquila-faults={','.join(faults)}")
    code, output, found = run_under_faults(tmp_path / "summaries", *chosen)
    assert (code, found) == (0, {(test, fault): read_table()[test, fault] for fault in faults}), output


def cassettes(project: Path) -> dict[str, bytes]:
    files = (path for path in (project / "cassettes").rglob("*") if path.is_file())
    return {str(path.relative_to(project)): path.read_bytes() for path in files}
