"""List the cassettes: how many requests each has, how old they are, and what answered them.

RECORDED is the day of the newest recording in the cassette, AGE the number of days since its oldest. ANSWERED BY is the
upstream (live, local, or a transport of yours), and the model that the answers name.

NAME is a cassette, a folder of cassettes, or a pattern such as 'jobs/*'. A cassette that cannot be read is listed, and
the reason below the table; the exit code is then 2.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from aquila.cassettes.storage.cassette_files import pending_path
from aquila.cli import FAILED, arguments, project
from aquila.cli.comparing.interaction_summary import answered_by, day_of, days_since, format_age, with_provenance
from aquila.cli.output import Output, format_size
from aquila.cli.progress import track_progress
from aquila.cli.tables import Column
from aquila.plurals import count_of
from aquila.recording.storing.interrupted_runs import is_anything_left

_COLUMNS = (
    Column("CASSETTE"),
    Column("REQUESTS"),
    Column("SIZE", only_if_room=True),
    Column("RECORDED"),
    Column("AGE"),
    Column("ANSWERED BY", "middle", 16),
    Column("NOTE"),
)

_HOW_TO_RECORD = """\
To record one, let a test use the fixture aquila_cassette, and run it with the API key of the provider:

    def test_greeting(aquila_cassette):
        assert my_app.greet("Ann")

    pytest --aquila-record"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    project.add_arguments(parser)
    names = parser.add_argument("names", nargs="*", metavar="NAME", help="which cassettes (default: all)")
    arguments.complete_with(names, arguments.complete_cassettes)


def run_command(options: argparse.Namespace, output: Output) -> int:
    """Read the cassettes and list them."""
    with project.open_project(options) as here:
        is_new = not (options.names or options.folders or here.has_folder)
        files = [] if is_new else here.choose_files(options.names)
        found = [_describe_cassette(path, here) for path in track_progress(files, "reading")]
        # Without names, also pending files without a cassette.
        pending = sum(one["pending"] for one in found) if options.names else len(here.list_pending())
        interrupted = any(map(is_anything_left, here.folders_with_journals))
    _print_cassettes(found, output)
    if not found:
        output.print_line(f"no cassettes in {here.folder} yet")
    _print_what_waits(pending, interrupted, project.command_here(options, "accept"), output)
    if not (found or pending or interrupted):
        output.print_line()
        output.print_text(_HOW_TO_RECORD, indent="")
    output.print_json(found)
    return FAILED if any(one["error"] for one in found) else 0


def _print_cassettes(found: list[dict[str, Any]], output: Output) -> None:
    rows = [
        (
            one["name"],
            one["interactions"] or 0,
            format_size(one["bytes"]),
            day_of(one["recorded"] or ""),
            format_age(one["oldest"] or ""),
            ", ".join(one["answered_by"]) or "-",
            "unreadable" if one["error"] else "pending" if one["pending"] else "",
        )
        for one in found
    ]
    output.print_table(_COLUMNS, rows)
    damaged = [one for one in found if one["error"]]
    if damaged:
        output.print_line()
    for one in damaged:
        output.print_problem(f"unreadable: {one['error']}")


def _print_what_waits(pending: int, interrupted: bool, accept: str, output: Output) -> None:
    """Print what the command ``accept`` would store: ``pending`` files, and journals of an ``interrupted`` run."""
    if pending:
        number = count_of(pending, "pending recording")
        output.print_line()
        output.print_line(f"{number}: run {accept} to store {'it' if pending == 1 else 'them'}.")
    if interrupted:
        output.print_line()
        output.print_line(f"An interrupted run left recordings: run {accept} to store them.")


def _describe_cassette(path: Path, here: project.Project) -> dict[str, Any]:
    about: dict[str, Any] = {
        "name": here.name_of(path),
        "path": str(path),
        "folder": str(here.folder_of(path) or path.parent),
        "bytes": project.size_of(path),
        "interactions": None,
        "recorded": None,
        "oldest": None,
        "age_days": None,
        "answered_by": [],
        "pending": pending_path(path).exists(),
        "error": None,
    }
    try:
        interactions = [with_provenance(one) for one in project.load_whole_cassette(path).interactions]
    except project.UNREADABLE as error:
        about["error"] = project.describe_problem(path, error)
        return about
    about["interactions"] = len(interactions)
    moments = [one.recorded for one in interactions if one.recorded]
    about["recorded"], about["oldest"] = max(moments, default=None), min(moments, default=None)
    about["age_days"] = days_since(about["oldest"] or "")
    about["answered_by"] = sorted({answered_by(one) for one in interactions} - {""})
    return about
