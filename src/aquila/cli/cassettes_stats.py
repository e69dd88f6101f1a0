"""Sum up the cassettes: how many, how large, which models and statuses, what their answers took in tokens and time.

NAME is a cassette, a folder of them, or a pattern; by default all are counted.
"""

from __future__ import annotations

import argparse
from collections import Counter
from typing import Any

from aquila.cli import FAILED, project
from aquila.cli.interaction_summary import model_of, status_of
from aquila.cli.output import Output, size
from aquila.recording.reports import count_tokens

_LARGEST = 5
_COUNTED = ("interactions", "streams", "chunks", "tokens", "milliseconds", "unreadable")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    project.add_arguments(parser)
    parser.add_argument("names", nargs="*", metavar="NAME", help="which ones (default: all)")


def run(options: argparse.Namespace, output: Output) -> int:
    """Count."""
    totals: Counter[str] = Counter()
    models: Counter[str] = Counter()
    statuses: Counter[str] = Counter()
    sizes: dict[str, int] = {}
    dates: list[str] = []
    with project.opened(options) as here:
        for path in here.chosen(options.names):
            name = here.name_of(path)
            sizes[name] = project.size_of(path)
            try:
                interactions = project.load(path).interactions
            except project.UNREADABLE as error:
                totals["unreadable"] += 1
                output.line(f"unreadable: {project.problem(path, error)}")
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
    output.table(
        ("", "TOTAL"),
        [
            ("cassettes", f"{found['cassettes']:,}"),
            ("interactions", f"{found['interactions']:,}"),
            ("of them streams", f"{found['streams']:,}"),
            ("chunks", f"{found['chunks']:,}"),
            ("on disk", size(found["bytes"])),
            ("tokens in the answers", f"{found['tokens']:,}"),
            ("time the answers took", f"{found['milliseconds'] / 1000:,.1f} s"),
            ("recorded", f"{found['oldest'] or '-'} to {found['newest'] or '-'}"),
        ],
    )
    for title, counts in (("MODEL", models), ("STATUS", statuses)):
        if counts:
            output.line()
            output.table((title, "INTERACTIONS"), counts.most_common())
    if largest:
        output.line()
        output.table(("LARGEST", "SIZE"), [(name, size(number)) for name, number in largest])
    output.value(found)
    return FAILED if totals["unreadable"] else 0
