"""Four journeys stay short: how often each goes from one file to another, counted as the benchmark counts it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent

COUNT = """
import json, sys
from pathlib import Path
from aquila.config import SettingsLayers
from aquila.recording.runtime import Run
from benchmarks import file_switches

visits = {}
for name, journey in file_switches.JOURNEYS.items():
    folder = Path(sys.argv[1], name)
    folder.mkdir()
    with Run(SettingsLayers(folder, defaults={"transport": "replay"})):
        visits[name] = journey(folder).visits
print(json.dumps(visits))
"""


@pytest.fixture(scope="module")
def visits(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[list[str]]]:
    """The visits of each journey."""
    # In a process of its own: where a plugin of another test still listens, each event goes to it, too.
    command = [sys.executable, "-c", COUNT, str(tmp_path_factory.mktemp("journeys"))]
    counted = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=True)
    counts: dict[str, list[list[str]]] = json.loads(counted.stdout)
    return counts


@pytest.mark.parametrize(
    ("journey", "most"),
    [("ask", 52), ("foreign stream", 54), ("perform_job", 50), ("load YAML", 22)],
)
def test_a_journey_goes_through_few_files(journey: str, most: int, visits: dict[str, list[list[str]]]) -> None:
    # A few more show nothing; but each change that adds a few has once led from 75 to 188.
    assert len(visits[journey]) <= most, visits[journey]
    assert len(visits[journey]) > most // 2  # else nothing was counted
