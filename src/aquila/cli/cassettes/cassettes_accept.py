"""Store pending recordings (NAME.pending.yaml), and recordings that interrupted runs have left in journals.

Recordings of failing tests are pending, and those of pytest --aquila-record=pending. A pending file replaces its
cassette if the cassette has not changed since. Otherwise the recordings that the cassette lacks are added, and those
that were recorded later than its own replace these.
CASSETTE is a name or a pattern. Without one, the command lists everything that waits, and asks about each; --yes
accepts all of it.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aquila.cassettes.model import Cassette
from aquila.cassettes.storage import cassette_files, journal
from aquila.cli import FAILED, FOUND, arguments, project
from aquila.cli.output import Output, ask_user, print_error
from aquila.plurals import count_of
from aquila.recording import runtime
from aquila.recording.sessions.session_factory import match_rules_of
from aquila.recording.storing.interrupted_runs import is_anything_left, recover_journals
from aquila.recording.storing.journal_merging import add_later, redact_foreign, stored_key
from aquila.recording.storing.pending_recordings import PendingContent
from aquila.recording.storing.recording_age import latest_moment
from aquila.review.applying import advise_msgpack, undo_interrupted
from aquila.review.kept_decisions import hold_reviews
from aquila.review.proposals import KINDS, compare_versions, comparison_key
from aquila.review.views import describe_kinds


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    project.add_arguments(parser)
    names = parser.add_argument("names", nargs="*", metavar="CASSETTE", help="which cassettes (default: ask for each)")
    arguments.complete_with(names, arguments.complete_pending)
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument(
        "--to",
        choices=("yaml", "msgpack"),
        default="yaml",
        help="the format of new cassettes of interrupted runs (default: yaml)",
    )


def run_command(options: argparse.Namespace, output: Output) -> int:
    """Store the journals of interrupted runs, then the pending recordings."""
    steps: list[Step] = []
    with project.open_project(options) as here:
        chosen = here.choose_pending(options.names)
        takes_journals = not options.names
        waiting = here.list_interrupted() if takes_journals else []
        asks = not (options.names or options.yes or options.dry_run) and bool(chosen or waiting)
        if asks:
            _list_what_waits(chosen, waiting, output)
            if output.why_unasked:
                return _say_what_to_type(chosen, options, output.why_unasked)
        roots = {here.recording_folder_of(path) for _, path in chosen}
        if takes_journals:
            roots.update(filter(journal.find_abandoned_journals, here.folders_with_journals))
        roots = set() if options.dry_run else roots
        with hold_reviews(roots, intent="accepted"):
            undo_interrupted(roots)
            if asks:
                takes_journals = bool(waiting) and ask_user("Store what interrupted runs have left?")
            if takes_journals:
                for folder in here.folders_with_journals:
                    steps += _accept_journals(here, folder, dry_run=options.dry_run, new_as=f".{options.to}")
                chosen = here.choose_pending([])  # what would replace a recording is pending now
            if asks:
                chosen = [(name, path) for name, path in chosen if ask_user(f"Accept {name}?")]
                if not (chosen or takes_journals):
                    output.print_line("nothing was accepted")
                    return 0
            steps += [
                _accept_file(name, path, here.recording_folder_of(path), dry_run=options.dry_run)
                for name, path in chosen
            ]
    for step in steps:
        output.print_problem(step.line)
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
        """Return the step of a file that could not be accepted."""
        return cls(f"not accepted: {reason}", {"cassette": None, "action": "failed", "error": reason}, failed=True)


def _list_what_waits(pending: list[tuple[str, Path]], waiting: list[tuple[str, int]], output: Output) -> None:
    """Print what ``accept`` without a name would ask about: pending files, and recordings in journals."""
    rows: list[tuple[str, str]] = []
    found: list[dict[str, Any]] = []
    settings = runtime.current_settings()
    rules = match_rules_of(settings)
    key_of = comparison_key(rules, settings.keep_headers)
    for name, path in pending:
        try:
            stored = cassette_files.load_cassette_or_empty(cassette_files.cassette_of_pending(path))
            recorded = project.load_whole_cassette(path)
            proposals = compare_versions(stored, recorded, key_of, rules).proposals
        except project.UNREADABLE as error:
            rows.append((name, f"unreadable: {project.describe_problem(path, error)}"))
            found.append({"cassette": name, "error": project.describe_problem(path, error)})
        else:
            content, kinds = PendingContent.of(recorded), Counter(each.kind for each in proposals)
            rows.append((name, content.describe(describe_kinds(proposals))))
            found.append({"cassette": name, **dataclasses.asdict(content), **{kind: kinds[kind] for kind in KINDS}})
    for name, count in waiting:
        rows.append((name, f"{count_of(count, 'recording')} of an interrupted run"))
        found.append({"cassette": name, "count": count, "interrupted": True})
    output.print_table(("CASSETTE", "WAITING"), rows)
    output.print_json(found)


def _say_what_to_type(pending: list[tuple[str, Path]], options: argparse.Namespace, reason: str) -> int:
    """Print that nothing was accepted for a ``reason``, and what to type instead. Returns the exit code."""
    first = project.command_here(options, "accept", pending[0][0]) if pending else ""
    everything = project.command_here(options, "accept", "--yes")
    print_error(
        f"aquila: {reason}, so accept cannot ask, and nothing was accepted. To accept one, name it"
        f"{f': {first}' if first else ''}. To accept everything: {everything}"
    )
    return FOUND


def _accept_journals(here: project.Project, folder: Path, *, dry_run: bool, new_as: str) -> list[Step]:
    """Store the recordings that interrupted runs left in the journals of a folder. ``new_as``: suffix of new files."""
    abandoned = journal.find_abandoned_journals(folder)
    if not abandoned or (dry_run and not is_anything_left(folder)):
        return []
    if dry_run:
        runs = count_of(len(abandoned), "interrupted run")
        json = {"cassette": None, "action": "merge journals", "runs": len(abandoned)}
        return [Step(f"would store the recordings of {runs}", json)]
    recovered = recover_journals(folder, new_as=new_as)
    steps = []
    for path, recorded in recovered.cassettes:
        name, number = here.name_of(path), count_of(recorded, "recording")
        json = {"cassette": name, "action": "recovered", "interactions": recorded}
        steps.append(Step(f"{name}: stored {number} of an interrupted run", json))
    return steps + [Step.make_failed(str(reason)) for reason in recovered.failures]


def _accept_file(name: str, pending: Path, folder: Path, *, dry_run: bool) -> Step:
    """Accept one pending file; a file that cannot be read or written makes a failed step."""
    try:
        action, number, older = _accept_pending(pending, folder, dry_run=dry_run)
    except project.UNREADABLE as error:
        return Step.make_failed(project.describe_problem(pending, error))
    would = "would be " if dry_run else ""
    line = f"{name}: {would}{action}, {count_of(number, 'interaction')}"
    if older:
        line += f"; left out, because not later than the cassette's own: {count_of(older, 'recording')}"
    return Step(line, {"cassette": name, "action": action, "interactions": number, "left_out": older})


def _accept_pending(pending: Path, root: Path, *, dry_run: bool) -> tuple[str, int, int]:
    """Store one pending file.

    Returns what was done, how many interactions the cassette has now, and how many were not later than its own.
    """
    path = cassette_files.cassette_of_pending(pending)
    recorded = project.load_whole_cassette(pending)
    if not path.exists():
        action = "created"
    elif path.stat().st_mtime_ns > pending.stat().st_mtime_ns or _was_recorded_since(path, recorded):
        action = "merged"
    else:
        action = "replaced"

    settings = runtime.current_settings()
    rules = match_rules_of(settings)
    older = 0

    def change(stored: Cassette) -> Cassette:
        nonlocal older
        merged = action == "merged"
        after = add_later(stored, recorded, stored_key(rules, settings.keep_headers)) if merged else recorded
        kept = frozenset(after.interactions)
        older = sum(one not in kept for one in recorded.interactions)
        return after if after == stored else redact_foreign(path, after, rules)

    if dry_run:
        return action, len(change(cassette_files.load_cassette_or_empty(path)).interactions), older

    advise = advise_msgpack(path, pending, root, verb="accept")
    stored = cassette_files.update_cassette(path, change, root=root, advise=advise)
    cassette_files.remove_cassette(pending)
    return action, len(stored.interactions), older


def _was_recorded_since(path: Path, pending: Cassette) -> bool:
    """Whether a cassette has later recordings than its pending file, which may be a copy with a new time of change."""
    waiting = latest_moment(pending.interactions)
    return bool(waiting) and latest_moment(project.load_cassette(path).interactions) > waiting
