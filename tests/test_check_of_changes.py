"""`.ci/run`: what it started ends with it, and how it ends tells whether all has passed. Its commands are stand-ins."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

PATIENCE = 60
REPOSITORY = Path(__file__).parents[1]

COMMANDS = {
    "bin/id": "echo 1000",  # nobody who may install programs
    "bin/make": """
        case $1 in
        test-all)
            until [ -s installing ] || [ -e succeeding ]; do sleep 0.02; done
            [ -e succeeding ] || exit 3
            result=${2##*=} ;;
        fuzz) echo "redaction 5 inputs" ;;
        test-wild) mkdir -p build/wild; result=build/wild/${2##*=}.xml ;;
        esac
        [ -z "${result:-}" ] || echo '<t><testcase/></t>' >"$result"
        echo "== 1 passed =="
        """,
    "scripts/find-python.sh": f"echo {sys.executable}",
    "scripts/environment.sh": f"""
        if [ ! -e succeeding ]; then
            sleep 600 &
            echo $$ $! >installing
            wait
        fi
        mkdir -p "$1/bin"
        ln -sf {sys.executable} "$1/bin/python"
        ln -sf ../../pytest "$1/bin/pytest"
        """,
    "pytest": """
        for each; do case $each in --junitxml=*) echo '<t><testcase/></t>' >"${each#*=}" ;; esac; done
        echo "== 1 passed =="
        """,
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, text in COMMANDS.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text}")
        path.chmod(0o755)
    for folder in (".venv/bin", ".ci"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / ".venv/bin/python").symlink_to(sys.executable)
    (tmp_path / ".venv/bin/pytest").symlink_to(tmp_path / "pytest")
    shutil.copy(REPOSITORY / ".ci" / "run", tmp_path / ".ci" / "run")
    return tmp_path


def check(project: Path, *, keeps_open: int | None = None) -> subprocess.CompletedProcess[str]:
    path = f"{project / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [project / ".ci" / "run"],
        env={**os.environ, "PATH": path},
        pass_fds=[] if keeps_open is None else [keeps_open],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@pytest.mark.slow
def test_it_succeeds_where_all_has_passed(project: Path) -> None:
    (project / "succeeding").touch()
    done = check(project)
    assert done.returncode == 0, done.stderr
    assert "== all passed" in done.stdout


def test_an_installer_that_runs_ends_with_it_where_tests_fail(project: Path) -> None:
    reading, writing = os.pipe()
    try:
        done = check(project, keeps_open=writing)
        os.close(writing)
        assert done.returncode == 1, done.stderr
        assert (project / "installing").read_text()
        # The end of a pipe that every process has open which it started.
        assert select.select([reading], [], [], PATIENCE)[0], "the installer goes on"
    finally:
        os.close(reading)
        for number in (project / "installing").read_text().split():
            try:
                os.kill(int(number), signal.SIGKILL)
            except ProcessLookupError:
                continue
