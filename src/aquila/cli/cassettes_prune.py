"""Remove files of the cassette folder that nothing uses, after asking.

These are pending recordings that are older than their cassette, .msgpack cassettes beside a .yaml cassette of the same
name (which is used instead), large bodies in @bodies that no cassette beside that folder speaks of, and files that a
killed process left half written.

With --orphans, cassettes that no test used are removed too. FILE is the output of a run of the whole suite with
--aquila-orphans, or "-" for standard input:

  pytest --aquila-orphans > run.log; aquila cassettes prune --orphans run.log

Recordings inside a cassette are never removed, nor are journals of interrupted runs (see aquila cassettes accept).
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from aquila.cassettes.storage import cassette_files, large_bodies
from aquila.cli import FAILED, project
from aquila.cli.output import Output, format_count, format_size
from aquila.errors import ConfigError

_ORPHAN = re.compile(r"aquila: no test used (.+)")
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_HALF_WRITTEN = re.compile(r"\.(?:.+\.[0-9a-f]{8}|[0-9a-f]{16})\.tmp")
_OLD = 3600.0
"""Seconds after which a temporary file is no longer being written."""


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
    parser.add_argument("--orphans", metavar="FILE", help="output of pytest --aquila-orphans, or - for standard input")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    parser.add_argument("--yes", action="store_true", help="do not ask")


def run_command(options: argparse.Namespace, output: Output) -> int:
    """Find the files, ask, and remove them."""
    with project.open_project(options) as here:
        unused = _find_unused(here, options.orphans)
        _print_unused(unused, output)
        remove = bool(unused) and not options.dry_run
        if remove and not options.yes:
            if output.as_json or not sys.stdin.isatty():
                reason = "--json is given" if output.as_json else "stdin is not a terminal"
                print(f"aquila: {reason}, so prune cannot ask; pass --yes or --dry-run", file=sys.stderr)
                return FAILED
            remove = _is_confirmed(unused)
        if remove:
            for file in unused:
                cassette_files.remove_cassette(file.path)
            _remove_empty_folders(here.folder)
            output.print_line(f"removed {format_count(len(unused), 'file')}")
        files = [{"file": file.name, "why": file.reason, "bytes": file.size} for file in unused]
        output.print_json({"removed": remove, "files": files})
    return 0


def _find_unused(here: project.Project, orphans: str | None) -> list[UnusedFile]:
    """Find all files that nothing uses. ``orphans`` is the source of ``--orphans``, if it is given."""
    reasons = {
        **_find_superseded(here),
        **_find_shadowed(here.list_cassettes()),
        **dict.fromkeys(large_bodies.find_unused_bodies(here.folder), "no cassette has this body"),
        **_find_half_written(here.folder),
    }
    if orphans is not None:
        reasons.update(dict.fromkeys(_read_orphans(orphans, here), "no test used it"))
    return [
        UnusedFile(path, str(path.relative_to(here.folder)), reason, path.stat().st_size)
        for path, reason in reasons.items()
    ]


def _print_unused(unused: list[UnusedFile], output: Output) -> None:
    output.print_table(("FILE", "WHY", "SIZE"), [(file.name, file.reason, format_size(file.size)) for file in unused])
    if not unused:
        output.print_line("nothing to remove")


def _is_confirmed(unused: list[UnusedFile]) -> bool:
    """Ask at the terminal whether to remove the files."""
    total = format_size(sum(file.size for file in unused))
    answer = input(f"Remove {format_count(len(unused), 'file')}, {total}? [y/N] ")
    return answer.strip().lower() in ("y", "yes")


def _find_superseded(here: project.Project) -> dict[Path, str]:
    found = {}
    for pending in here.list_pending():
        path = pending.with_name(pending.stem.removesuffix(".pending") + pending.suffix)
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
    now = time.time()
    return {
        path: "a process was killed while it wrote this"
        for path in sorted(folder.rglob(".*.tmp"))
        if _HALF_WRITTEN.fullmatch(path.name) and now - path.stat().st_mtime > _OLD
    }


def _read_orphans(source: str, here: project.Project) -> Iterator[Path]:
    try:
        text = sys.stdin.read() if source == "-" else Path(source).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--orphans {source}: cannot be read: {error}") from error
    if "aquila" not in text and text.strip():
        raise ConfigError(f"--orphans {source}: this is not the output of pytest --aquila-orphans")
    for line in _ANSI.sub("", text).splitlines():
        match = _ORPHAN.match(line.strip())
        path = here.folder / match[1] if match else None
        if path is not None and path in here.list_cassettes():
            yield path


def _remove_empty_folders(folder: Path) -> None:
    """Remove empty folders below ``folder``."""
    for inner in sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True):
        if inner.name == large_bodies.BODIES_FOLDER:
            large_bodies.remove_folder_without_bodies(inner)
        elif not any(inner.iterdir()):
            inner.rmdir()
