"""Join reports of pytest --aquila-report=FILE.json, such as those of the shards of a job, and write them as one.

REPORT is a report in JSON. With --to run.html the joint report is a page, with --to run.json it is data; --to can be
given several times. A test is shown with the name of the report that it is from. A test that ran in several reports is
listed once for each.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from aquila.cli import arguments
from aquila.cli.output import Output, writing_file
from aquila.errors import ConfigError
from aquila.plurals import count_of
from aquila.run_report.joining import join_reports
from aquila.run_report.page import render_page
from aquila.run_report.report_files import read_report, write_report
from aquila.run_report.schema import RunReport

_UNREADABLE = (AttributeError, KeyError, TypeError, ValueError)
"""The errors of a report that somebody has changed by hand."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    reports = parser.add_argument("reports", nargs="+", metavar="REPORT", help="a report in JSON")
    arguments.complete_with(reports, arguments.complete_files)
    parser.add_argument(
        "--to",
        action="append",
        required=True,
        metavar="FILE",
        help="the file to write: .html for a page, .json for data",
    )
    parser.add_argument("--json", action="store_true", help="write the sums of the joint report as JSON")


def run_command(options: argparse.Namespace, output: Output) -> int:
    """Read the reports, join them, and write the joint report."""
    given = list(map(Path, options.reports))
    files = [path.resolve() for path in given]
    paths = [path for at, path in enumerate(given) if files.index(files[at]) == at]  # each file once
    targets = list(map(Path, options.to))
    for target in targets:
        if target.suffix.lower() not in (".html", ".json"):
            raise ConfigError(f"--to {target}: the name must end with .html or .json")
    reports = {path: read_report(path) for path in paths}
    try:
        joined = join_reports({_name_of(path, paths): report for path, report in reports.items()})
        for target in targets:
            with writing_file(target):
                target.parent.mkdir(parents=True, exist_ok=True)
                write_report(target, joined)
    except _UNREADABLE as error:
        raise ConfigError(f"{_find_changed(reports)} has been changed and cannot be read: {error!r}") from error
    tests = count_of(joined["totals"]["tests"], "test")
    for target in targets:
        output.print_line(f"{tests} from {count_of(len(paths), 'report')} in {target}")
    output.print_json(joined["totals"])
    return 0


def _find_changed(reports: Mapping[Path, RunReport]) -> Path:
    """Return the first of some reports that cannot be read, or else the last."""
    for path, report in reports.items():
        try:
            render_page(join_reports({"one": report, "other": report}))
        except _UNREADABLE:
            return path
    return path


def _name_of(path: Path, paths: list[Path]) -> str:
    """Return the name of a report: that of its file, or the whole path if several files have that name."""
    names = [each.name.removesuffix(".json") for each in paths]
    name = path.name.removesuffix(".json")
    return name if names.count(name) == 1 else path.as_posix().removesuffix(".json")
