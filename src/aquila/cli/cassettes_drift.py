"""List the requests that have drifted unseen: what would miss if the whole content of requests were compared.

Runs pytest with the arguments given, replaying by method and path alone, so that every test gets an answer to each of
its requests; then each request that no recording has as it is now is listed, with how it differs from the nearest one.
Meant for cassettes of vcrpy, whose matching leaves bodies out, and for settings that do. Exits with 1 if there are any.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from aquila.cli import FAILED, FOUND
from aquila.cli.output import Output
from aquila.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--json", action="store_true", help="write JSON instead of a table")
    parser.add_argument("--full", action="store_true", help="show each difference in full")
    parser.add_argument("pytest_args", nargs="*", metavar="PYTEST ARGUMENT", help="which tests to run, after --")


def run_command(options: argparse.Namespace, output: Output) -> int:
    """Run the tests and list what they ask for in vain."""
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder, "drift.json")
        command = [sys.executable, "-m", "pytest", "-q", f"--aquila-drift={found}", *options.pytest_args]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        if not found.exists():
            said = [line for line in (ran.stderr or ran.stdout).splitlines() if line.strip()]
            reason = next((line for line in reversed(said) if "error:" in line), said[-1] if said else "nothing")
            raise ConfigError(f"pytest ended with {ran.returncode}: {reason.strip()}")
        drifted = json.loads(found.read_text(encoding="utf-8"))
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
    if ran.returncode not in (0, 1, 5):
        return FAILED
    return FOUND if drifted else 0
