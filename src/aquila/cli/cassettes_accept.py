"""Take over what is waiting: the recordings of failing tests (.pending files) and of interrupted runs (journals).

A pending recording replaces its cassette if the cassette has not changed since; otherwise what the cassette lacks is
added and the rest of the cassette stays. CASSETTE is a name or a pattern; by default all are taken over.
"""

from __future__ import annotations

import argparse
import fnmatch
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aquila import config
from aquila.cassettes.model import Cassette, RecordedRequest
from aquila.cassettes.storage import cassette_files, journal
from aquila.cassettes.storage.merging import Changes, NewRecording, merge
from aquila.cli import FAILED, project
from aquila.cli.output import Output, format_count
from aquila.errors import CassetteError
from aquila.recording.recorder import recover_journals
from aquila.recording.session_factory import match_rules_of, redactor_for, request_identifier


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    project.add_arguments(parser)
    parser.add_argument("names", nargs="*", metavar="CASSETTE", help="which ones (default: all, and journals)")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")


def run_command(options: argparse.Namespace, output: Output) -> int:
    """Take them over."""
    done: list[dict[str, Any]] = []
    failed: list[str] = []
    with project.open_project(options) as here:
        here.list_cassettes()  # there must be a folder
        waiting = {here.name_of(_cassette_path_of(path)): path for path in here.list_pending()}
        chosen = [name for name in waiting if _is_wanted(name, options.names)]
        for name in options.names:
            if not any(_is_wanted(known, [name]) for known in waiting):
                hint = config.suggest_name(name, waiting) if waiting else "; nothing is pending"
                raise CassetteError(f"no pending recording of {name!r} in {here.folder}{hint}")
        left = journal.abandoned(here.folder) if not options.names else {}
        if left and options.dry_run:
            done.append({"cassette": None, "action": "merge journals", "runs": len(left)})
            output.print_line(f"would take over the journals of {format_count(len(left), 'interrupted run')}")
        elif left:
            recovered = recover_journals(here.folder)
            for path, recorded in recovered.cassettes:
                done.append({"cassette": here.name_of(path), "action": "recovered", "interactions": recorded})
                output.print_line(
                    f"{here.name_of(path)}: {format_count(recorded, 'recording')} of an interrupted run taken over"
                )
            failed += recovered.failures
        for name in chosen:
            try:
                action, number = _accept_pending(waiting[name], here.folder, dry_run=options.dry_run)
            except project.UNREADABLE as error:
                failed.append(project.describe_problem(waiting[name], error))
                continue
            done.append({"cassette": name, "action": action, "interactions": number})
            would = "would be " if options.dry_run else ""
            output.print_line(f"{name}: {would}{action}, {format_count(number, 'interaction')}")
        for reason in failed:
            output.print_line(f"not taken over: {reason}")
            done.append({"cassette": None, "action": "failed", "error": reason})
        if not done:
            output.print_line("nothing is pending")
        output.print_json(done)
    return FAILED if failed else 0


def _is_wanted(name: str, patterns: list[str]) -> bool:
    return not patterns or any(
        name == pattern.removesuffix(".yaml") or fnmatch.fnmatchcase(name, pattern) for pattern in patterns
    )


def _cassette_path_of(pending: Path) -> Path:
    """The cassette that a pending file belongs to."""
    return pending.with_name(pending.stem.removesuffix(".pending") + pending.suffix)


def _accept_pending(pending: Path, root: Path, *, dry_run: bool) -> tuple[str, int]:
    """Take over one pending file; what was done, and how many interactions its cassette has now."""
    path = _cassette_path_of(pending)
    recorded = project.load_cassette(pending)
    if not path.exists():
        action = "created"
    elif path.stat().st_mtime_ns <= pending.stat().st_mtime_ns:
        action = "replaced"
    else:
        action = "merged"
    change: Callable[[Cassette], Cassette] = (
        _make_merging_change(recorded) if action == "merged" else lambda stored: recorded
    )
    if dry_run:
        return action, len(change(cassette_files.load_or_empty(path)).interactions)
    stored = cassette_files.update(path, change, root=root)
    cassette_files.remove(pending)
    return action, len(stored.interactions)


def _make_merging_change(recorded: Cassette) -> Callable[[Cassette], Cassette]:
    """A change of a cassette: each recording whose place is free is added."""
    settings = config.current_settings()
    rules = match_rules_of(settings)
    identify, clean = request_identifier(rules), redactor_for(rules, settings.keep_headers).request

    def key(request: RecordedRequest) -> str:
        return identify(clean(request))

    counts: Counter[str] = Counter()
    rows = []
    for order, interaction in enumerate(recorded.interactions):
        mine = key(interaction.request)
        rows.append(NewRecording(mine, counts[mine], order, interaction))
        counts[mine] += 1
    return lambda stored: merge(stored, Changes(tuple(rows)), key)
