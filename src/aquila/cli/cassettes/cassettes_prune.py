"""Remove files of the cassette folder that nothing uses, after asking.

These are pending recordings that are older than their cassette, .msgpack cassettes beside a .yaml cassette of the same
name (which is used instead), large bodies in @bodies that no cassette beside that folder names, and files that a killed
process left half written.

With --orphans, cassettes that no test used are removed too, with their pending recordings. FILE is the report of a run
of all tests, or "-" for standard input. The report of a partial run is refused:

  pytest --aquila-orphans=unused.json; aquila cassettes prune --orphans unused.json

Recordings inside a cassette are never removed, nor are journals of interrupted runs (see aquila cassettes accept).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from aquila.cassettes.storage import cassette_files, file_replacement, large_bodies, recorded_uses
from aquila.cassettes.storage.names import name_of_file
from aquila.cli import FAILED, arguments, project
from aquila.cli.cassettes import unused_report_reader
from aquila.cli.output import Output, ask_user, format_size, print_error
from aquila.cli.progress import track_progress
from aquila.plurals import count_of
from aquila.review.kept_decisions import hold_reviews


@dataclass(frozen=True, slots=True)
class UnusedFile:
    """A file that may be removed. ``name`` is its path below the cassette folder, ``size`` is in bytes."""

    path: Path
    name: str
    reason: str
    size: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    project.add_arguments(parser)
    parser.add_argument(
        "--orphans", metavar="FILE", help="report of pytest --aquila-orphans=FILE, or - for standard input"
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    arguments.add_quiet(parser)


def run_command(options: argparse.Namespace, output: Output) -> int:
    """Find the files, ask, and remove them."""
    with project.open_project(options) as here:
        orphans, notes = unused_report_reader.read_report(options.orphans, here) if options.orphans else ([], [])
        unused = _find_unused(here, orphans)
        unreadable = _find_unreadable(here, quiet=options.quiet)
        for note in notes:
            output.print_line(note)
        for problem in unreadable:
            output.print_problem(f"unreadable, and left alone: {problem}")
        _print_unused(unused, output)
        remove = bool(unused) and not options.dry_run
        if remove and not options.yes:
            if output.as_json or not sys.stdin.isatty():
                reason = "--json is given" if output.as_json else "stdin is not a terminal"
                print_error(f"aquila: {reason}, so prune cannot ask; pass --yes or --dry-run")
                return FAILED
            total = format_size(sum(file.size for file in unused))
            remove = ask_user(f"Remove {count_of(len(unused), 'file')}, {total}?")
        if remove:
            pending = [file.path for file in unused if cassette_files.is_pending_file(file.path)]
            with hold_reviews(map(here.recording_folder_of, pending), intent="removed"):
                for file in unused:
                    cassette_files.remove_cassette(file.path)
            _forget_uses(here.folder, orphans)
            for folder in here.folders:
                _remove_empty_folders(folder)
            output.print_line(f"removed {count_of(len(unused), 'file')}")
        files = [{"file": file.name, "why": file.reason, "bytes": file.size} for file in unused]
        output.print_json({"removed": remove, "files": files, "unreadable": unreadable, "notes": notes})
    return 0


def _find_unused(here: project.Project, orphans: list[Path]) -> list[UnusedFile]:
    """Return all files that nothing uses. ``orphans`` are cassettes that no test used."""
    reasons = {
        **_find_superseded(here),
        **_find_shadowed(here.list_cassettes()),
    }
    for folder in here.folders:
        reasons |= dict.fromkeys(large_bodies.find_unused_bodies(folder), "no cassette has this body")
        reasons |= _find_half_written(folder)
    for path in orphans:
        reasons[path] = "no test used it"
        pending = cassette_files.pending_path(path)
        if pending.exists():
            reasons[pending] = "no test used its cassette"
    return [UnusedFile(path, here.show_file(path), reason, path.stat().st_size) for path, reason in reasons.items()]


def _print_unused(unused: list[UnusedFile], output: Output) -> None:
    output.print_table(("FILE", "WHY", "SIZE"), [(file.name, file.reason, format_size(file.size)) for file in unused])
    if not unused:
        output.print_line("nothing to remove")


def _find_unreadable(here: project.Project, *, quiet: bool) -> list[str]:
    """Return why cassettes, or their bodies, cannot be read. A damaged file may be in use, so it is not removed."""
    problems = []
    for path in track_progress((*here.list_cassettes(), *here.list_pending()), "reading", quiet=quiet):
        try:
            project.load_whole_cassette(path)
        except project.UNREADABLE as error:
            problems.append(project.describe_problem(path, error))
    return problems


def _find_superseded(here: project.Project) -> dict[Path, str]:
    found = {}
    for pending in here.list_pending():
        path = cassette_files.cassette_of_pending(pending)
        if path.exists() and path.stat().st_mtime_ns > pending.stat().st_mtime_ns:
            found[pending] = "its cassette was recorded again later"
    return found


def _find_shadowed(files: list[Path]) -> dict[Path, str]:
    existing = set(files)
    return {
        path: "the .yaml file of the same name is used"
        for path in files
        if path.suffix == ".msgpack" and path.with_suffix(".yaml") in existing
    }


def _find_half_written(folder: Path) -> dict[Path, str]:
    abandoned = sorted(file_replacement.find_half_written_files(folder))
    return dict.fromkeys(abandoned, "a process was killed while it wrote this")


def _forget_uses(folder: Path, removed: list[Path]) -> None:
    """Remove the notes about which tests used the removed cassettes."""
    names = {name_of_file(folder, path) for path in removed}
    recorded_uses.change_uses(folder, lambda known: {use for use in known if use[0] not in names})


def _remove_empty_folders(folder: Path) -> None:
    """Remove empty folders below ``folder``."""
    for place, _, _ in os.walk(folder, topdown=False):
        inner = Path(place)
        if inner.name == large_bodies.BODIES_FOLDER:
            large_bodies.remove_folder_without_bodies(inner)
        elif inner != folder:
            with contextlib.suppress(OSError):  # it is not empty
                inner.rmdir()
