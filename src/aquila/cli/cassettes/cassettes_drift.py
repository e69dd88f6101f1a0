"""List the tests whose requests have drifted: those that would miss if the whole content of requests were compared.

The command runs pytest with the given arguments. A request that was recorded exactly gets its recorded answer. Any
other request gets the answer of the nearest recording with the same method and path, so that each test reaches its next
request. Then the command lists the differences, one group for each change, with the setting that ignores the change or
the command that records it again. It also lists the tests that ask and have no cassette. The exit code is 1 if anything
is listed, else 0.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from aquila.cli import FOUND
from aquila.cli.output import Output
from aquila.errors import ConfigError
from aquila.recording.reporting import drift_groups
from aquila.temporary_folders import TemporaryFolder

_TESTS_FAILED = 1
_NO_TESTS = 5
_COMPLETED = (0, _TESTS_FAILED)
"""Exit codes of a pytest run that reached its end: passed, failed."""
_PYTEST = """
import os, sys, pytest
sys.argv[0], sys.path[:] = "pytest", [each or os.getcwd() for each in sys.path]
sys.exit(pytest.main())
"""
"""As ``python -m pytest``, but the commands that pytest suggests are not written so, because nobody has typed that."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--json", action="store_true", help="write JSON: groups, tests without a recording, requests")
    parser.add_argument("--full", action="store_true", help="show each difference in full")
    parser.add_argument("pytest_args", nargs="*", metavar="PYTEST ARGUMENT", help="which tests to run, after --")


def run_command(options: argparse.Namespace, output: Output) -> int:
    """Run the tests and print what has drifted."""
    report, exit_code = _run_pytest(options.pytest_args)
    for line in drift_groups.describe_report(report, shutil.get_terminal_size().columns):
        output.print_line(line)
    if options.full:
        for one in report["requests"]:
            output.print_line()
            output.print_line(one["test"])
            output.print_text(one["text"])
    if exit_code == _TESTS_FAILED:
        output.print_line()
        output.print_line("Some tests failed. Requests that they would have made after that are not in this list.")
    output.print_json(report)
    return FOUND if report["groups"] or report["unrecorded"] else 0


def _run_pytest(arguments: list[str]) -> tuple[dict[str, Any], int]:
    """Run pytest and return its drift report and exit code. Raises ``ConfigError`` if the run was not completed."""
    # In another process: pytest leaves modules, warnings and logging of this one changed.
    with TemporaryFolder("drift") as folder:
        report = Path(folder, "drift.json")
        command = [sys.executable, "-c", _PYTEST, "-q", f"--aquila-drift={report}", *arguments]
        ran = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        if ran.returncode not in _COMPLETED or not report.exists():
            lines = [line for line in (ran.stderr or ran.stdout).splitlines() if line.strip()] or ["no output"]
            errors = (line for line in reversed(lines) if "error:" in line or line.startswith("ERROR "))
            reason = "no test ran" if ran.returncode == _NO_TESTS else next(errors, lines[-1])
            raise ConfigError(f"pytest ended with {ran.returncode}, so nothing is known of drift: {reason.strip()}")
        return json.loads(report.read_text(encoding="utf-8")), ran.returncode
