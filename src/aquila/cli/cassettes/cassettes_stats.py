"""Sum up the cassettes: number, size, models, statuses, and the tokens and time that their answers took.

NAME is a cassette, a folder of cassettes, or a pattern. Without one, all cassettes are counted.
"""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from aquila.cassettes.answers.answer_text import status_of
from aquila.cassettes.model import Interaction, is_event_stream_by_type
from aquila.cli import FAILED, arguments, project
from aquila.cli.comparing.interaction_summary import (
    answered_by,
    day_of,
    days_since,
    format_age,
    model_of,
    with_provenance,
)
from aquila.cli.output import Output, format_size
from aquila.cli.progress import track_progress
from aquila.recording.reporting.played_answers import count_tokens

_LARGEST = 5
_COUNTED = ("interactions", "streams", "conversations", "chunks", "tokens", "milliseconds")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    project.add_arguments(parser)
    names = parser.add_argument("names", nargs="*", metavar="NAME", help="which cassettes (default: all)")
    arguments.complete_with(names, arguments.complete_cassettes)


@dataclass(slots=True)
class Statistics:
    """Sums over cassettes. ``sizes``: bytes by cassette name. ``oldest``, ``newest``: times of recordings, in ISO 8601.

    ``totals`` has the sums that ``_COUNTED`` names. ``upstreams`` counts recordings by their upstream, ``answered_by``
    by upstream and answering model.
    """

    sizes: dict[str, int] = field(default_factory=dict)
    totals: Counter[str] = field(default_factory=Counter)
    models: Counter[str] = field(default_factory=Counter)
    upstreams: Counter[str] = field(default_factory=Counter)
    answered_by: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    oldest: str | None = None
    newest: str | None = None

    def add_interaction(self, interaction: Interaction) -> None:
        """Count one interaction."""
        interaction = with_provenance(interaction)
        response = interaction.response
        self.totals["interactions"] += 1
        self.totals["streams"] += is_event_stream_by_type(response.headers)
        self.totals["conversations"] += interaction.kind == "websocket"
        self.totals["chunks"] += len(response.chunks)
        self.totals["tokens"] += count_tokens(interaction)
        self.totals["milliseconds"] += response.ended
        self.models[model_of(interaction) or "(none)"] += 1
        self.upstreams[interaction.upstream or "(unknown)"] += 1
        self.answered_by[answered_by(interaction) or "(unknown)"] += 1
        self.statuses[status_of(interaction)] += 1
        if interaction.recorded:
            self.oldest = min(self.oldest or interaction.recorded, interaction.recorded)
            self.newest = max(self.newest or interaction.recorded, interaction.recorded)

    def as_json(self) -> dict[str, Any]:
        """Return all sums as a JSON value."""
        return {
            "cassettes": len(self.sizes),
            "bytes": sum(self.sizes.values()),
            **{name: self.totals[name] for name in _COUNTED},
            "oldest": self.oldest,
            "newest": self.newest,
            "age_days": days_since(self.oldest or ""),
            "models": dict(self.models.most_common()),
            "upstreams": dict(self.upstreams.most_common()),
            "answered_by": dict(self.answered_by.most_common()),
            "statuses": dict(self.statuses.most_common()),
            "largest": dict(sorted(self.sizes.items(), key=lambda item: -item[1])[:_LARGEST]),
        }


def run_command(options: argparse.Namespace, output: Output) -> int:
    """Count, and print the sums. The recordings of a cassette that cannot be read are left out."""
    statistics = Statistics()
    unreadable: list[str] = []
    with project.open_project(options) as here:
        for path in track_progress(here.choose_files(options.names), "reading"):
            statistics.sizes[here.name_of(path)] = project.size_of(path)
            try:
                interactions = project.load_whole_cassette(path).interactions
            except project.UNREADABLE as error:
                unreadable.append(project.describe_problem(path, error))
                continue
            for interaction in interactions:
                statistics.add_interaction(interaction)
    for problem in unreadable:
        output.print_problem(f"unreadable: {problem}")
    sums = statistics.as_json()
    _print_sums(sums, output)
    output.print_json({**sums, "unreadable": unreadable})
    return FAILED if unreadable else 0


def _print_sums(sums: dict[str, Any], output: Output) -> None:
    output.print_table(
        ("", "TOTAL"),
        [
            ("cassettes", f"{sums['cassettes']:,}"),
            ("interactions", f"{sums['interactions']:,}"),
            ("of them streams", f"{sums['streams']:,}"),
            ("of them conversations", f"{sums['conversations']:,}"),
            ("chunks", f"{sums['chunks']:,}"),
            ("on disk", format_size(sums["bytes"])),
            ("tokens in the answers", f"{sums['tokens']:,}" if sums["tokens"] else "none told"),
            ("time the answers took", f"{sums['milliseconds'] / 1000:,.1f} s"),
            ("recorded", f"{day_of(sums['oldest'])} to {day_of(sums['newest'])}" if sums["oldest"] else "unknown"),
            ("age of the oldest", format_age(sums["oldest"] or "")),
        ],
    )
    for title, counts in (
        ("ANSWERED BY", sums["answered_by"]),
        ("MODEL", sums["models"]),
        ("STATUS", sums["statuses"]),
    ):
        if counts:
            output.print_line()
            output.print_table((title, "REQUESTS"), list(counts.items()))
    if sums["largest"]:
        output.print_line()
        rows = [(name, format_size(number)) for name, number in sums["largest"].items()]
        output.print_table(("LARGEST", "SIZE"), rows)
