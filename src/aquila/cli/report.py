"""Join reports of pytest --aquila-report=FILE.json, such as those of the shards of a job, and write them as one.

REPORT is a report in JSON. With --to run.html the joint report is a page, with --to run.json it is data; --to can be
given several times. A test is shown with the name of the report that it is from. A test that ran in several reports is
listed once for each.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from aquila.cli import arguments
from aquila.cli.output import Output, writing_file
from aquila.errors import ConfigError
from aquila.plurals import count_of
from aquila.run_report.joining import join_reports
from aquila.run_report.report_files import read_report, write_report


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
    paths = list(dict.fromkeys(map(Path, options.reports)))
    targets = list(map(Path, options.to))
    for target in targets:
        if target.suffix.lower() not in (".html", ".json"):
            raise ConfigError(f"--to {target}: the name must end with .html or .json")
    reports = {_name_of(path, paths): read_report(path) for path in paths}
    try:
        joined = join_reports(reports)
        for target in targets:
            with writing_file(target):
                target.parent.mkdir(parents=True, exist_ok=True)
                write_report(target, joined)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"one of the reports has been changed and cannot be read: {error!r}") from error
    tests = count_of(joined["totals"]["tests"], "test")
    for target in targets:
        output.print_line(f"{tests} from {count_of(len(paths), 'report')} in {target}")
    output.print_json(joined["totals"])
    return 0


def _name_of(path: Path, paths: list[Path]) -> str:
    """Return the name of a report: that of its file, or the whole path if several files have that name."""
    names = [each.name.removesuffix(".json") for each in paths]
    name = path.name.removesuffix(".json")
    return name if names.count(name) == 1 else path.as_posix().removesuffix(".json")
