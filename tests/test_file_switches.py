"""Two journeys stay short: how often each goes from one file to another, counted as the benchmark counts it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from aquila.config import SettingsLayers
from aquila.recording.runtime import Run
from benchmarks import file_switches


@pytest.mark.parametrize(
    ("journey", "most"),
    [(file_switches.journey_of_ask, 54), (file_switches.journey_of_foreign_stream, 112)],
    ids=["ask", "recorded stream"],
)
def test_a_journey_goes_through_few_files(
    journey: Callable[[], file_switches.SwitchCounter], most: int, tmp_path: Path
) -> None:
    with Run(SettingsLayers(tmp_path, defaults={"transport": "replay"})):
        visits = journey().visits
    # A few more show nothing; but each change that adds a few has once led from 75 to 188.
    assert len(visits) <= most, visits
    assert len(visits) > most // 2  # else nothing was counted
