"""A project that uses one client, and runs of its tests, each in a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.wild.table import Client

FILES = Path(__file__).parent / "project"
PATIENCE = 15
"""How many seconds a piece of a stream may take to arrive before the stream counts as delivered whole."""

SECRET = "akeythatnocassettemayhold"

# What a developer's shell may hold for one client or another must not decide a run.
_FOREIGN = ("API_KEY", "_TOKEN", "AWS_", "OPENAI_", "AQUILA_", "PYTEST_", "ANTHROPIC_", "WILD_", "COV_")


@dataclass(frozen=True, slots=True)
class Report:
    """What one phase of a test came to: see ``project/observer.py``."""

    test: str
    way: str
    when: str
    outcome: str
    crash: str
    text: str
    slept: tuple[float, ...] = ()
    heard: Any = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to: its output, its exit code, and the reports of its tests."""

    output: str
    code: int
    reports: tuple[Report, ...]

    def of(self, test: str, way: str) -> Report:
        """The report that decides a test: its failure if it has one, else that of its call."""
        reports = [report for report in self.reports if (report.test, report.way) == (test, way)]
        assert reports, f"{test} did not run for {way}:\n{self.output}"
        failed = [report for report in reports if report.outcome != "passed"]
        return (failed or [report for report in reports if report.when == "call"])[0]

    def failures(self, test: str, way: str) -> list[Report]:
        """Every report of a test that is not one of success."""
        return [one for one in self.reports if (one.test, one.way) == (test, way) and one.outcome != "passed"]


class Project:
    """A user's project: the application of one client, and its tests."""

    def __init__(self, client: Client, folder: Path) -> None:
        self.client = client
        self.folder = folder
        folder.mkdir()
        for file in FILES.glob("*.py"):
            shutil.copy(file, folder)
        (folder / "app.py").write_text(client.source, "utf-8")
        (folder / "pytest.ini").write_text("[pytest]\n", "utf-8")

    @property
    def streaming(self) -> str | None:
        """The way that streams now, if one does."""
        with contextlib.suppress(FileNotFoundError):
            return (self.folder / "streaming").read_text("utf-8")
        return None

    def wait_for_a_piece(self) -> bool:
        """Wait until the application has got a piece of its stream. False if it gets none for long."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if (self.folder / "received").exists():
                return True
            time.sleep(0.01)
        return False

    def run(self, *arguments: str, key: bool) -> Outcome:
        """Run pytest with these arguments, and with the provider's key in the environment or without."""
        report = self.folder / "report.json"
        report.unlink(missing_ok=True)
        environment = clean_environment() | self.client.settings
        if key:
            environment |= dict.fromkeys(self.client.key, self.client.key_form.format(SECRET))
        environment |= {
            "WILD_WAYS": " ".join(self.client.ways),
            "WILD_REPORT": str(report),
            "HOME": str(self.folder),  # no key of anybody's, nor settings
        }
        return run_observed(self.folder, environment, *arguments)


def run_observed(folder: Path, environment: Mapping[str, str], *arguments: str) -> Outcome:
    """Run the pytest of a project that has ``project/observer.py``, which writes the file ``WILD_REPORT``."""
    report = Path(environment["WILD_REPORT"])
    command = [sys.executable, "-m", "pytest", "-p", "observer", "-p", "no:randomly", "-rA", *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment, text=True, capture_output=True, timeout=240, check=False
    )
    output = done.stdout + done.stderr
    assert report.exists(), f"pytest ended with {done.returncode}:\n{output}"
    assert "Aquila does not know" not in output, output
    rows: list[Mapping[str, Any]] = json.loads(report.read_text("utf-8"))
    return Outcome(output, done.returncode, tuple(Report(**row) for row in rows))


def clean_environment() -> dict[str, str]:
    """Return this process's environment without what a developer's shell may hold for a client."""
    return {name: value for name, value in os.environ.items() if not _is_foreign(name)}


def _is_foreign(name: str) -> bool:
    return any(part in name for part in _FOREIGN)


def run_file_of_project(folder: Path, *, sources: Path, helper: str, file: str) -> None:
    """Run the tests of a file in a process and a ``folder`` of their own; fail if they do. ``helper`` goes along."""
    for name in (helper, file):
        shutil.copy(sources / name, folder)
    (folder / "pytest.ini").write_text("[pytest]\n", "utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "-p", "no:cacheprovider", file]
    environment = {**clean_environment(), "HOME": str(folder)}
    done = subprocess.run(
        command, cwd=folder, env=environment, text=True, capture_output=True, timeout=500, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
