"""List the cassettes with the number of their interactions, their size, and when they were last recorded.

NAME is a cassette, a folder of cassettes, or a pattern such as 'jobs/*'. A cassette that cannot be read is listed with
the reason, and the exit code is then 2.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from aquila.cassettes.storage import journal
from aquila.cassettes.storage.cassette_files import pending_path
from aquila.cli import FAILED, project
from aquila.cli.interaction_summary import answered_by
from aquila.cli.output import Output, format_count, format_size


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    project.add_arguments(parser)
    parser.add_argument("names", nargs="*", metavar="NAME", help="which cassettes (default: all)")


def run_command(options: argparse.Namespace, output: Output) -> int:
    """Read the cassettes and list them."""
    with project.open_project(options) as here:
        found = [_describe_cassette(path, here) for path in here.choose_files(options.names)]
        interrupted = here.folder.is_dir() and bool(journal.find_abandoned_journals(here.folder))
    _print_cassettes(found, output)
    if not found:
        output.print_line(f"no cassettes in {here.folder}")
    _print_what_waits(sum(1 for one in found if one["pending"]), interrupted, output)
    output.print_json(found)
    return FAILED if any(one["error"] for one in found) else 0


def _print_cassettes(found: list[dict[str, Any]], output: Output) -> None:
    rows = [
        (
            one["name"],
            one["interactions"] or 0,
            format_size(one["bytes"]),
            one["recorded"] or "-",
            ", ".join(one["answered_by"]) or "-",
            _note_for(one),
        )
        for one in found
    ]
    output.print_table(("CASSETTE", "INTERACTIONS", "SIZE", "RECORDED", "ANSWERED BY", "NOTE"), rows)


def _print_what_waits(pending: int, interrupted: bool, output: Output) -> None:
    """Say what ``aquila cassettes accept`` would store: ``pending`` files, or journals of an interrupted run."""
    if pending:
        number = format_count(pending, "pending recording")
        output.print_line(f"\n{number}: run aquila cassettes accept to store {'it' if pending == 1 else 'them'}.")
    if interrupted:
        output.print_line("\nAn interrupted run left recordings: run aquila cassettes accept to store them.")


def _describe_cassette(path: Path, here: project.Project) -> dict[str, Any]:
    about: dict[str, Any] = {
        "name": here.name_of(path),
        "path": str(path),
        "bytes": 0,
        "interactions": None,
        "recorded": None,
        "answered_by": [],
        "pending": pending_path(path).exists(),
        "error": None,
    }
    try:
        cassette = project.load_cassette(path)
    except project.UNREADABLE as error:
        about["error"] = project.describe_problem(path, error)
        return about
    finally:
        about["bytes"] = project.size_of(path)
    about["interactions"] = len(cassette.interactions)
    about["recorded"] = max((one.recorded for one in cassette.interactions if one.recorded), default=None)
    about["answered_by"] = sorted({answered_by(one) for one in cassette.interactions} - {""})
    return about


def _note_for(about: dict[str, Any]) -> str:
    if about["error"]:
        return f"unreadable: {about['error']}"
    return "a pending recording waits" if about["pending"] else ""
