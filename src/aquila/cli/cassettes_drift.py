"""List the requests that have drifted: those that would miss if the whole content of requests were compared.

Runs pytest with the given arguments and replays by method and path alone, so that every request of every test gets an
answer. Then lists each request whose content no recording has, and how it differs from the nearest recording. This is
meant for cassettes of vcrpy, which does not compare bodies, and for settings that do not compare them. The exit code is
1 if any request has drifted.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from aquila.cli import FAILED, FOUND
from aquila.cli.output import Output
from aquila.errors import ConfigError

_COMPLETED = (0, 1, 5)
"""Exit codes of a pytest run that reached its end: passed, failed, no tests."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--json", action="store_true", help="write JSON instead of a table")
    parser.add_argument("--full", action="store_true", help="show each difference in full")
    parser.add_argument("pytest_args", nargs="*", metavar="PYTEST ARGUMENT", help="which tests to run, after --")


def run_command(options: argparse.Namespace, output: Output) -> int:
    """Run the tests and print the requests that have drifted."""
    drifted, exit_code = _run_pytest(options.pytest_args)
    output.print_table(
        ("TEST", "CASSETTE", "REQUEST"),
        [(one["test"], one["cassette"], f"{one['method']} {one['url']}") for one in drifted],
    )
    if options.full:
        for one in drifted:
            output.print_line()
            output.print_line(one["test"])
            output.print_text(one["text"])
    output.print_json(drifted)
    if exit_code not in _COMPLETED:
        return FAILED
    return FOUND if drifted else 0


def _run_pytest(arguments: list[str]) -> tuple[list[dict[str, Any]], int]:
    """Run pytest and return its drift report and exit code. Raises ``ConfigError`` if pytest wrote no report."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "drift.json")
        command = [sys.executable, "-m", "pytest", "-q", f"--aquila-drift={report}", *arguments]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        if not report.exists():
            lines = [line for line in (ran.stderr or ran.stdout).splitlines() if line.strip()] or ["no output"]
            reason = next((line for line in reversed(lines) if "error:" in line), lines[-1])
            raise ConfigError(f"pytest ended with {ran.returncode}: {reason.strip()}")
        return json.loads(report.read_text(encoding="utf-8")), ran.returncode
