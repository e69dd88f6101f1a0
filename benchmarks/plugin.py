"""The time that the pytest plugin adds to a run that does not use it. Whole processes run in turns.

Each run loads one plugin at most, and leaves out the other plugins of the environment by name. Two of them cannot be
loaded together, because both add ``--record-mode``.
"""

from __future__ import annotations

import functools
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

from benchmarks.harness import Report, duration, environment, main, paired
from benchmarks.suite import cpu_time_of_children

SUBJECTS = {"without": "", "aquila": "aquila", "pytest-recording": "recording", "cassetter": "cassetter"}
EMPTY = "def test_{number}():\n    pass\n"


def plugins() -> list[str]:
    """Return the names of all installed pytest plugins."""
    return sorted({entry.name for entry in metadata.entry_points(group="pytest11")})


def pytest(folder: Path, plugin: str) -> None:
    """Run pytest on a folder, with one plugin or none."""
    left_out = [argument for name in plugins() if name != plugin for argument in ("-p", f"no:{name}")]
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider", *left_out, str(folder)],
        env=environment(),
        cwd=folder,
        check=True,
        capture_output=True,
    )


def run(report: Report) -> None:
    """Measure."""
    installed = {name: plugin for name, plugin in SUBJECTS.items() if not plugin or plugin in plugins()}
    for title, count, rounds, limit in (
        ("One empty test: whole process, CPU time", 1, 25, 3.0),
        ("500 empty tests that do not use the plugin: whole process, CPU time", 500, 9, 0.02),
    ):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "pytest.ini").write_text("[pytest]\n")
            (folder / "test_empty.py").write_text("".join(EMPTY.format(number=number) for number in range(count)))
            times = paired(
                {subject: functools.partial(pytest, folder, plugin) for subject, plugin in installed.items()},
                rounds=rounds,
                warm=1,
                clock=cpu_time_of_children,
            )
        report.heading(title)
        extra = {subject: times.difference(subject, "without") for subject in installed}
        once = 0.0 if count == 1 else _loading["aquila"]
        rows = [
            (
                subject,
                duration(times.median(subject)),
                f"+ {duration(extra[subject])}",
                duration(extra[subject] / count),
            )
            for subject in installed
        ]
        report.rows(("", "median", "over a run without", "for each test"), rows)
        if count == 1:
            _loading.update(extra)
            report.aim("one empty test", extra["aquila"] * 1e3, at_most=limit, unit="ms")
        else:
            each = (extra["aquila"] - once) / count
            report.aim("each test that does not use it, loading aside", each * 1e3, at_most=limit, unit="ms")


_loading: dict[str, float] = {}
"""The seconds that loading each plugin takes, from the run with one test."""

if __name__ == "__main__":
    main(run)
