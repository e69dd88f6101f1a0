"""What mypy says of right and of wrong uses of tasks and their fixtures."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def errors_of_mypy(*files: Path) -> set[tuple[str, int, str]]:
    """The file name, line and code of each error."""
    command = [sys.executable, "-m", "mypy", "--strict", "--no-pretty", "--show-error-codes", *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=HERE.parent.parent, check=False)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found = re.findall(r"([^/\n]+):(\d+): error: .*\[([a-z-]+)\]$", done.stdout, re.MULTILINE)
    return {(name, int(line), code) for name, line, code in found}


def errors_expected_in(file: Path) -> set[tuple[str, int, str]]:
    lines = enumerate(file.read_text().splitlines(), start=1)
    return {(file.name, line, code) for line, text in lines for code in re.findall(r"# E: ([a-z-]+)", text)}


def test_mypy_finds_the_wrong_uses_and_no_others() -> None:
    right, wrong = HERE / "huey_right.py", HERE / "huey_wrong.py"
    expected = errors_expected_in(wrong)
    assert len(expected) > 15
    assert errors_of_mypy(right, wrong) == expected
