"""The tests of each example pass where its users run them: in its folder, from its cassettes, without a network."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
EXAMPLES = sorted(path.parent.name for path in HERE.glob("*/pyproject.toml"))

# Refuses every connection of the example's tests, in their own process, and says that it was there.
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


def cassettes(project: Path) -> dict[str, bytes]:
    files = (path for path in (project / "cassettes").rglob("*") if path.is_file())
    return {str(path.relative_to(project)): path.read_bytes() for path in files}
