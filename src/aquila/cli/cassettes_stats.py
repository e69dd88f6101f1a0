"""Sum up the cassettes: how many, how large, which models and statuses, what their answers took in tokens and time.

NAME is a cassette, a folder of them, or a pattern; by default all are counted.
"""

from __future__ import annotations

import argparse
from collections import Counter
from typing import Any

from aquila.cli import FAILED, project
from aquila.cli.interaction_summary import model_of, status_of
from aquila.cli.output import Output, format_size
from aquila.recording.reports import count_tokens

_LARGEST = 5
_COUNTED = ("interactions", "streams", "chunks", "tokens", "milliseconds", "unreadable")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    project.add_arguments(parser)
    parser.add_argument("names", nargs="*", metavar="NAME", help="which ones (default: all)")


def run_command(options: argparse.Namespace, output: Output) -> int:
    """Count."""
    totals: Counter[str] = Counter()
    models: Counter[str] = Counter()
    statuses: Counter[str] = Counter()
    sizes: dict[str, int] = {}
    dates: list[str] = []
    with project.open_project(options) as here:
        for path in here.choose_files(options.names):
            name = here.name_of(path)
            sizes[name] = project.size_of(path)
            try:
                interactions = project.load_cassette(path).interactions
            except project.UNREADABLE as error:
                totals["unreadable"] += 1
                output.print_line(f"unreadable: {project.describe_problem(path, error)}")
                continue
            for one in interactions:
                totals["interactions"] += 1
                totals["streams"] += one.response.first_header("content-type").startswith("text/event-stream")
                totals["chunks"] += len(one.response.chunks)
                totals["tokens"] += count_tokens(one)
                totals["milliseconds"] += one.response.ended
                models[model_of(one) or "(none)"] += 1
                statuses[status_of(one)] += 1
            dates += (one.recorded for one in interactions if one.recorded)
    largest = sorted(sizes.items(), key=lambda item: -item[1])[:_LARGEST]
    found: dict[str, Any] = {
        "cassettes": len(sizes),
        "bytes": sum(sizes.values()),
        **{name: totals[name] for name in _COUNTED},
        "oldest": min(dates, default=None),
        "newest": max(dates, default=None),
        "models": dict(models.most_common()),
        "statuses": dict(statuses.most_common()),
        "largest": dict(largest),
    }
    output.print_table(
        ("", "TOTAL"),
        [
            ("cassettes", f"{found['cassettes']:,}"),
            ("interactions", f"{found['interactions']:,}"),
            ("of them streams", f"{found['streams']:,}"),
            ("chunks", f"{found['chunks']:,}"),
            ("on disk", format_size(found["bytes"])),
            ("tokens in the answers", f"{found['tokens']:,}"),
            ("time the answers took", f"{found['milliseconds'] / 1000:,.1f} s"),
            ("recorded", f"{found['oldest'] or '-'} to {found['newest'] or '-'}"),
        ],
    )
    for title, counts in (("MODEL", models), ("STATUS", statuses)):
        if counts:
            output.print_line()
            output.print_table((title, "INTERACTIONS"), counts.most_common())
    if largest:
        output.print_line()
        output.print_table(("LARGEST", "SIZE"), [(name, format_size(number)) for name, number in largest])
    output.print_json(found)
    return FAILED if totals["unreadable"] else 0
