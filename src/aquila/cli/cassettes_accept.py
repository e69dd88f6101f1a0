"""Accept what waits: pending recordings of failing tests (NAME.pending.yaml) and journals of interrupted runs.

A pending recording replaces its cassette if the cassette has not changed since. Otherwise only the recordings that the
cassette lacks are added. CASSETTE is a name or a pattern. Without one, every pending recording and every journal is
accepted.
"""

from __future__ import annotations

import argparse
import fnmatch
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aquila import config
from aquila.cassettes.model import Cassette, RecordedRequest
from aquila.cassettes.storage import cassette_files, journal
from aquila.cassettes.storage.merging import Changes, NewRecording, merge_changes
from aquila.cli import FAILED, project
from aquila.cli.output import Output, format_count
from aquila.errors import CassetteError
from aquila.recording import runtime
from aquila.recording.recorder import recover_journals
from aquila.recording.redactors import redactor_for
from aquila.recording.session_factory import match_rules_of, request_identifier


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    project.add_arguments(parser)
    parser.add_argument("names", nargs="*", metavar="CASSETTE", help="which cassettes (default: all, and journals)")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
    parser.add_argument(
        "--to", choices=("yaml", "msgpack"), default="yaml", help="the format of cassettes that are new (default: yaml)"
    )


def run_command(options: argparse.Namespace, output: Output) -> int:
    """Store the journals of interrupted runs, then the pending recordings."""
    steps: list[Step] = []
    with project.open_project(options) as here:
        chosen = _choose_pending(here, options.names)
        if not options.names:
            steps += _accept_journals(here, dry_run=options.dry_run, new_as=f".{options.to}")
        steps += [_accept_file(name, path, here.folder, dry_run=options.dry_run) for name, path in chosen.items()]
    for step in steps:
        output.print_line(step.line)
    if not steps:
        output.print_line("nothing is pending")
    output.print_json([step.json for step in steps])
    return FAILED if any(step.failed for step in steps) else 0


@dataclass(frozen=True, slots=True)
class Step:
    """What was done, or would be done, with one file: as a line for people and as a JSON value."""

    line: str
    json: dict[str, Any]
    failed: bool = False

    @classmethod
    def make_failed(cls, reason: str) -> Step:
        """A file that could not be accepted."""
        return cls(f"not accepted: {reason}", {"cassette": None, "action": "failed", "error": reason}, failed=True)


def _choose_pending(here: project.Project, names: list[str]) -> dict[str, Path]:
    """Find the pending files by the name of their cassette. Raises ``CassetteError`` for a name that fits none."""
    here.list_cassettes()  # raises if there is no cassette folder
    pending = {here.name_of(_cassette_path_of(path)): path for path in here.list_pending()}
    for name in names:
        if not any(_is_wanted(known, [name]) for known in pending):
            hint = config.suggest_name(name, pending) if pending else "; nothing is pending"
            raise CassetteError(f"no pending recording of {name!r} in {here.folder}{hint}")
    return {name: path for name, path in pending.items() if _is_wanted(name, names)}


def _accept_journals(here: project.Project, *, dry_run: bool, new_as: str) -> list[Step]:
    """Store what interrupted runs left in their journals."""
    abandoned = journal.find_abandoned_journals(here.folder)
    if not abandoned:
        return []
    if dry_run:
        runs = format_count(len(abandoned), "interrupted run")
        json = {"cassette": None, "action": "merge journals", "runs": len(abandoned)}
        return [Step(f"would store the recordings of {runs}", json)]
    recovered = recover_journals(here.folder, new_as=new_as)
    steps = []
    for path, recorded in recovered.cassettes:
        name, number = here.name_of(path), format_count(recorded, "recording")
        json = {"cassette": name, "action": "recovered", "interactions": recorded}
        steps.append(Step(f"{name}: stored {number} of an interrupted run", json))
    return steps + [Step.make_failed(str(reason)) for reason in recovered.failures]


def _accept_file(name: str, pending: Path, folder: Path, *, dry_run: bool) -> Step:
    """Accept one pending file; a file that cannot be read or written makes a failed step."""
    try:
        action, number = _accept_pending(pending, folder, dry_run=dry_run)
    except project.UNREADABLE as error:
        return Step.make_failed(project.describe_problem(pending, error))
    would = "would be " if dry_run else ""
    line = f"{name}: {would}{action}, {format_count(number, 'interaction')}"
    return Step(line, {"cassette": name, "action": action, "interactions": number})


def _is_wanted(name: str, patterns: list[str]) -> bool:
    return not patterns or any(
        name == pattern.removesuffix(".yaml") or fnmatch.fnmatchcase(name, pattern) for pattern in patterns
    )


def _cassette_path_of(pending: Path) -> Path:
    """Return the path of the cassette that a pending file belongs to."""
    return pending.with_name(pending.stem.removesuffix(".pending") + pending.suffix)


def _accept_pending(pending: Path, root: Path, *, dry_run: bool) -> tuple[str, int]:
    """Store one pending file. Return what was done and how many interactions the cassette has now."""
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
        return action, len(change(cassette_files.load_cassette_or_empty(path)).interactions)
    stored = cassette_files.update_cassette(path, change, root=root)
    cassette_files.remove_cassette(pending)
    return action, len(stored.interactions)


def _make_merging_change(recorded: Cassette) -> Callable[[Cassette], Cassette]:
    """Make a change of a cassette that adds each recording which the cassette lacks."""
    settings = runtime.current_settings()
    rules = match_rules_of(settings)
    identify, clean = request_identifier(rules), redactor_for(rules, settings.keep_headers).redact_request

    def identify_request(request: RecordedRequest) -> str:
        return identify(clean(request))

    counts: Counter[str] = Counter()
    rows = []
    for order, interaction in enumerate(recorded.interactions):
        mine = identify_request(interaction.request)
        rows.append(NewRecording(mine, counts[mine], order, interaction))
        counts[mine] += 1
    return lambda stored: merge_changes(stored, Changes(tuple(rows)), identify_request)
