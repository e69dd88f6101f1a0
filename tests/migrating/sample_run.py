"""Runs a sample project, with the tool that it was written for or with Aquila, and returns the outcome of each test.

``python -m tests.migrating.sample_run PYTHON [cassetter_project]`` writes the ``outcomes.json`` of a project anew: what
comes of its tests with its own tool, which the environment of ``PYTHON`` has (that of
``make bench`` does, with ``pip install openai requests``). Its ``make.py`` writes its cassettes.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.support.upstream import Answer, upstream

PROJECT = Path(__file__).parent / "sample_project"
CASSETTER_PROJECT = Path(__file__).parent / "cassetter_project"

_OUTCOMES = """
import json, os
import pytest

found = {}

@pytest.hookimpl(trylast=True)
def pytest_runtest_logreport(report):
    if report.when == "call" or report.outcome != "passed":
        outcome = "xfailed" if hasattr(report, "wasxfail") else report.outcome
        if report.when != "call" and report.outcome == "failed":
            outcome = "error"
        found[report.nodeid] = outcome

def pytest_sessionfinish(session):
    if not hasattr(session.config, "workerinput"):
        with open(os.environ["SAMPLE_OUTCOMES"], "w") as file:
            json.dump(dict(sorted(found.items())), file)
"""


def copy_project(folder: Path, project: Path = PROJECT) -> Path:
    """Copy a project as its owner has it, without the files of this suite."""
    shutil.copytree(project, folder, ignore=shutil.ignore_patterns("__pycache__", "make.py", "outcomes.json"))
    (folder / "tell_outcomes.py").write_text(_OUTCOMES)
    return folder


def run_project(
    project: Path, *arguments: str, server: str, python: str = sys.executable, **variables: str
) -> tuple[dict[str, str], str]:
    """Run the project. Return what came of each test, and what was printed. ``server`` is the URL of its server."""
    told = project / "outcomes.json"
    hidden = ("AQUILA", "OPENAI", "PYTEST", "COV_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    done = subprocess.run(
        [python, "-m", "pytest", "-p", "no:cacheprovider", "-p", "tell_outcomes", *arguments],
        check=False,
        cwd=project,
        env={**environment, "SAMPLE_SERVER": server, "SAMPLE_OUTCOMES": str(told), "PYTHONPATH": str(project)}
        | variables,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    outcomes: dict[str, str] = json.loads(told.read_text())
    return outcomes, done.stdout


RUNS = ((), ("--record-mode=once", "tests/test_network.py"), ("tests/test_network.py",))
"""The arguments of runs that follow each other. Only the module that asks the server of the suite records."""

EXPECTED = "outcomes.json"
"""The file in each project with what comes of the tests in each of these runs."""


@contextlib.contextmanager
def serve() -> Iterator[str]:
    """Serve what the project asks. It gets the path that it asks for."""

    def answer(path: str, body: bytes) -> Answer:
        headers = {"content-type": "application/json", "x-request-id": "1"}
        return Answer(headers=headers, chunks=[json.dumps({"path": path}).encode()])

    with upstream(answer) as server:
        yield server.url


def main(python: str, project: str = PROJECT.name) -> None:
    """Write what comes of each test of a project with its own tool, which ``python`` has."""
    source = PROJECT.parent / project
    with serve() as server, tempfile.TemporaryDirectory() as folder:
        copy = copy_project(Path(folder, "project"), source)
        found = [run_project(copy, *run, "-p", "no:aquila", server=server, python=python)[0] for run in RUNS]
    (source / EXPECTED).write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
