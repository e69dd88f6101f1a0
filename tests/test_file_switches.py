"""Four journeys stay short: how often each goes from one file to another, counted as the benchmark counts it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent

COUNT = """
import sys
from pathlib import Path
from aquila.config import SettingsLayers
from aquila.recording.runtime import Run
from benchmarks import file_switches

folder = Path(sys.argv[2])
with Run(SettingsLayers(folder, defaults={"transport": "replay"})):
    print(*file_switches.JOURNEYS[sys.argv[1]](folder).visits, sep="\\n")
"""


@pytest.mark.parametrize(
    ("journey", "most"),
    [("ask", 52), ("foreign stream", 56), ("perform_job", 50), ("load YAML", 22)],
)
def test_a_journey_goes_through_few_files(journey: str, most: int, tmp_path: Path) -> None:
    # In a process of its own: where a plugin of another test still listens, each event goes to it, too.
    command = [sys.executable, "-c", COUNT, journey, str(tmp_path)]
    counted = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    visits = counted.stdout.splitlines()
    # A few more show nothing; but each change that adds a few has once led from 75 to 188.
    assert len(visits) <= most, visits
    assert len(visits) > most // 2  # else nothing was counted
