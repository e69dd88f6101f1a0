"""``scripts/environment.sh``: an environment whose installation was interrupted is made anew, any other is kept."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parent.parent / "scripts"

PYTHON = r"""#!/bin/sh
echo "$*" >>"$CALLS"
case "$*" in
    "-I -c "*) echo "ok 3.11 $0" ;;
    "-c "*) echo 3.11 ;;
    "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" && touch "$3/pyvenv.cfg" ;;
    "-m pip install --editable "*) eval "$INSTALLING" ;;
esac
"""
"""A Python that does nothing but note how it is called, and what ``INSTALLING`` says when it installs the project."""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    shutil.copytree(SCRIPTS, tmp_path / "scripts")
    (tmp_path / "plugin").mkdir()
    for name in ("pyproject.toml", "plugin/pyproject.toml"):
        (tmp_path / name).touch()
    python = tmp_path / "python"
    python.write_text(PYTHON)
    python.chmod(0o755)
    return tmp_path


def set_up(project: Path, *, installing: str) -> tuple[int, int]:
    """Set up the environment. Return the exit status, and how often an environment was made."""
    calls = project / "calls"
    calls.write_text("")
    environment = {**os.environ, "PYTHON": str(project / "python"), "CALLS": str(calls), "INSTALLING": installing}
    command = ["sh", "scripts/environment.sh", ".venv", "dev", "without-model"]
    # In a group of its own, which the installer kills as Ctrl-C ends everything of a terminal.
    run = subprocess.run(
        command, check=False, cwd=project, env=environment, start_new_session=True, capture_output=True, timeout=60
    )
    return run.returncode, calls.read_text().count("-m venv ")


def test_an_environment_whose_installation_was_interrupted_is_made_anew(project: Path) -> None:
    assert set_up(project, installing="kill -KILL 0") == (-signal.SIGKILL, 1)
    assert set_up(project, installing="true") == (0, 1)
    assert set_up(project, installing="true") == (0, 0)


def test_an_environment_is_kept_in_which_nothing_could_be_installed(project: Path) -> None:
    # As without a network, after `pyproject.toml` has changed.
    assert set_up(project, installing="true") == (0, 1)
    (project / "pyproject.toml").write_text("# changed")
    assert set_up(project, installing="exit 1") == (1, 0)
    assert set_up(project, installing="true") == (0, 0)
