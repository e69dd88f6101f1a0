"""Remove files of the cassette folder that nothing uses, after asking.

These are pending recordings whose cassette was recorded again later, .msgpack cassettes beside a .yaml cassette of the
same name (which is used instead), files that a killed process left half written, and large bodies in @bodies that no
other file beside that folder names.

With --orphans, cassettes that no test used are removed too, with their pending recordings. FILE is the report of a run
of all tests, or "-" for standard input. The report of a partial run is refused:

  pytest --aquila-orphans=unused.json; aquila cassettes prune --orphans unused.json

Recordings inside a cassette are never removed, nor are journals of interrupted runs (see aquila cassettes accept).
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aquila.cassettes.storage import cassette_files, file_replacement, large_bodies, recorded_uses
from aquila.cassettes.storage.names import name_of_file
from aquila.cassettes.storage.recorded_uses import UNUSED_REPORT
from aquila.cli import FAILED, project
from aquila.cli.output import Output, ask_user, format_size, print_error
from aquila.cli.progress import track_progress
from aquila.errors import ConfigError
from aquila.plurals import count_of
from aquila.recording import runtime
from aquila.recording.storing.recording_age import latest_moment
from aquila.review.kept_decisions import hold_reviews

_AGAIN = "Run all tests, without options that select some of them: pytest --aquila-orphans=unused.json"


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


def run_command(options: argparse.Namespace, output: Output) -> int:
    """Find the files, ask, and remove them."""
    with project.open_project(options) as here:
        orphans, notes = _read_report(options.orphans, here) if options.orphans else ({}, [])
        damaged = _find_unreadable(here)
        unused = _find_unused(here, orphans, damaged)
        unreadable = list(damaged.values())
        for note in notes:
            output.print_line(note)
        for problem in unreadable:
            output.print_problem(f"unreadable, and left alone: {problem}")
        _print_unused(unused, output)
        remove = bool(unused) and not options.dry_run
        status = 0
        if remove and not options.yes:
            if output.why_unasked:
                print_error(f"aquila: {output.why_unasked}, so prune cannot ask; pass --yes or --dry-run")
                remove, status = False, FAILED
            else:
                total = format_size(sum(file.size for file in unused))
                remove = ask_user(f"Remove {count_of(len(unused), 'file')}, {total}?")
        if remove:
            pending = [file.path for file in unused if cassette_files.is_pending_file(file.path)]
            with hold_reviews(map(here.recording_folder_of, pending), intent="removed"):
                for file in unused:
                    cassette_files.remove_cassette(file.path)
            for folder in set(orphans.values()):
                _forget_uses(folder, [path for path, around in orphans.items() if around == folder])
            for folder in here.folders:
                _remove_empty_folders(folder)
            output.print_line(f"removed {count_of(len(unused), 'file')}")
        files = [{"file": file.name, "why": file.reason, "bytes": file.size} for file in unused]
        output.print_json({"removed": remove, "files": files, "unreadable": unreadable, "notes": notes})
    return status


def _find_unused(here: project.Project, orphans: Iterable[Path], damaged: Collection[Path]) -> list[UnusedFile]:
    """Return all files that nothing uses. ``orphans`` are cassettes that no test used.

    ``damaged`` are cassettes that cannot be read. They hide no other file, and perhaps they name large bodies beside
    them.
    """
    reasons = {
        **_find_superseded(here),
        **_find_shadowed([path for path in here.list_cassettes() if path not in damaged]),
    }
    for path in orphans:
        reasons[path] = "no test used it"
        pending = cassette_files.pending_path(path)
        if pending.exists():
            reasons[pending] = "no test used its cassette"
    beside = {path.parent for path in damaged}
    leaving = frozenset(reasons)
    for folder in here.folders:
        bodies = [path for path in large_bodies.find_unused_bodies(folder, leaving) if path.parent.parent not in beside]
        reasons |= dict.fromkeys(bodies, "no cassette that stays has this body")
        reasons |= _find_half_written(folder)
    return [UnusedFile(path, here.show_file(path), reason, path.stat().st_size) for path, reason in reasons.items()]


def _print_unused(unused: list[UnusedFile], output: Output) -> None:
    output.print_table(("FILE", "WHY", "SIZE"), [(file.name, file.reason, format_size(file.size)) for file in unused])
    if not unused:
        output.print_line("nothing to remove")


def _find_unreadable(here: project.Project) -> dict[Path, str]:
    """Return the cassettes that cannot be read, or whose bodies cannot, each with the reason.

    A damaged file may be in use, so it is not removed.
    """
    problems: dict[Path, str] = {}
    for path in track_progress((*here.list_cassettes(), *here.list_pending()), "reading"):
        try:
            project.load_whole_cassette(path)
        except project.UNREADABLE as error:
            problems[path] = project.describe_problem(path, error)
    return problems


def _find_superseded(here: project.Project) -> dict[Path, str]:
    found = {}
    for pending in here.list_pending():
        path = cassette_files.cassette_of_pending(pending)
        if path.exists() and path.stat().st_mtime_ns > pending.stat().st_mtime_ns and not _holds_later(pending, path):
            found[pending] = "its cassette was recorded again later"
    return found


def _holds_later(pending: Path, path: Path) -> bool:
    """Whether a pending file has later recordings than its cassette, which git has written since; or cannot be read."""
    try:
        waiting, stored = (latest_moment(project.load_cassette(each).interactions) for each in (pending, path))
    except project.UNREADABLE:
        return True
    return waiting > stored


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


def _forget_uses(folder: Path, removed: Iterable[Path]) -> None:
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


def _read_report(source: str, here: project.Project) -> tuple[dict[Path, Path], list[str]]:
    """Return the cassettes that no test used according to a report, and sentences about those that are left out.

    Each cassette has the folder into which its tests record. ``source`` is the path of the report, or ``-`` for
    standard input. Cassettes that have changed since the run, and those outside of the project's cassette folders, are
    left out. Raises ``ConfigError`` for a file that is not such a report, and for the report of a partial run.
    """
    report = _load_report(source)
    if report.get("complete") is not True:
        reasons = "; ".join(map(str, report.get("partial_because") or ["it does not say why"]))
        raise ConfigError(f"--orphans {source}: the run was partial, so nothing is removed: {reasons}. {_AGAIN}")
    root = runtime.current_settings().root.absolute()
    known = set(here.list_cassettes())
    found: dict[Path, Path] = {}
    elsewhere: dict[str, int] = {}
    notes: list[str] = []
    for row in report["unused"]:
        match row:
            case {"folder": str(folder), "file": str(file), "sha256": str(digest)} if "\0" not in folder + file:
                is_main = (root / folder).resolve() == here.folder.resolve()
                around = here.folder if is_main else Path(os.path.abspath(root / folder))
                path = around / file
                if here.folder_of(around) is None:
                    elsewhere[folder] = elsewhere.get(folder, 0) + 1
                elif path in known and cassette_files.is_cassette_name(path, around):
                    if hashlib.sha256(path.read_bytes()).hexdigest() == digest:
                        found[path] = around
                    else:
                        notes.append(f"{path} has changed since the run, and is left alone")
            case _:
                raise ConfigError(f"--orphans {source}: this is no report of unused cassettes. {_AGAIN}")
    for folder, count in elsewhere.items():
        notes.append(f"{count_of(count, 'unused cassette')} in {folder}: name that folder with --dir to remove them")
    return found, notes


def _load_report(source: str) -> dict[str, Any]:
    try:
        # Bytes, because the encoding of JSON need not be that of stdin; `json.loads` detects it.
        data = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    except OSError as error:
        raise ConfigError(f"--orphans {source}: cannot be read: {error.strerror}. {_AGAIN}") from error
    try:
        report: Any = json.loads(data)
    except (ValueError, RecursionError):
        report = None
    is_report = isinstance(report, dict) and report.get("report") == UNUSED_REPORT
    if not is_report or not isinstance(report.get("unused"), list):
        raise ConfigError(f"--orphans {source}: this is no report of unused cassettes. {_AGAIN}")
    return dict(report)
