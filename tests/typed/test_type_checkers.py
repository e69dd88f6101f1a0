"""The types of the public functions, as mypy and pyright see them."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent
REPOSITORY = HERE.parent.parent
RIGHT = ("right_uses.py", "huey_right_uses.py")
WRONG = ("wrong_uses.py", "huey_wrong_uses.py")
MARK = "  # wrong: "

pytestmark = pytest.mark.slow


def wrong_lines() -> set[tuple[str, int]]:
    return {
        (file, number)
        for file in WRONG
        for number, line in enumerate((HERE / file).read_text(encoding="utf-8").splitlines(), 1)
        if MARK in line
    }


def mypy_errors() -> set[tuple[str, int]]:
    """The file and line of each error that ``mypy --strict`` reports.

    With this project's settings, so that it knows already what `make check` has found out of all that is imported.
    """
    files = [str((HERE / file).relative_to(REPOSITORY)) for file in (*RIGHT, *WRONG)]
    command = [sys.executable, "-m", "mypy", "--strict", *files]
    # A colour would stand within what is read here.
    environment = {**os.environ, "NO_COLOR": "1", "FORCE_COLOR": "0", "MYPY_FORCE_COLOR": "0"}
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    rows = [line.split(":", 3) for line in done.stdout.splitlines() if ": error:" in line]
    return {(Path(file).name, int(line)) for file, line, *_ in rows}


def pyright_errors() -> set[tuple[str, int]]:
    """The file and line of each error that pyright reports in its strict mode."""
    command = [sys.executable, "-m", "basedpyright", "--outputjson", f"--pythonpath={sys.executable}"]
    done = subprocess.run([*command, "--project", str(HERE)], cwd=HERE, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found = json.loads(done.stdout)["generalDiagnostics"]
    rows = [(Path(row["file"]).name, row["range"]["start"]["line"] + 1, row["severity"]) for row in found]
    return {(file, line) for file, line, severity in rows if severity == "error" and file in (*RIGHT, *WRONG)}


@pytest.mark.long(20)
@pytest.mark.parametrize(("package", "find_errors"), [("mypy", mypy_errors), ("basedpyright", pyright_errors)])
def test_right_uses_pass_and_each_wrong_one_is_refused(
    package: str, find_errors: Callable[[], set[tuple[str, int]]]
) -> None:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    assert find_errors() == wrong_lines()
