"""Remove files of the cassette folder that nothing uses any more, after asking.

Always looked for: pending recordings older than their cassette (it was recorded anew since), .msgpack cassettes beside
a .yaml cassette of the same name (the .yaml one is used), and what killed processes left half written.

With --orphans also the cassettes that no test used: FILE is the output of a run of the whole suite with
--aquila-orphans, or "-" for standard input:

  pytest --aquila-orphans > run.log; aquila cassettes prune --orphans run.log

Recordings inside a cassette are never touched, nor are journals of interrupted runs (aquila cassettes accept).
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from aquila.cassettes.storage import cassette_files
from aquila.cli import FAILED, project
from aquila.cli.output import Output, count, size
from aquila.errors import ConfigError

_ORPHAN = re.compile(r"aquila: no test used (.+)")
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_HALF_WRITTEN = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")
_OLD = 3600.0
"""Seconds after which a file that is being written is no longer being written."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    project.add_arguments(parser)
    parser.add_argument("--orphans", metavar="FILE", help="output of pytest --aquila-orphans, or - for standard input")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    parser.add_argument("--yes", action="store_true", help="do not ask")


def run(options: argparse.Namespace, output: Output) -> int:
    """Remove them."""
    with project.opened(options) as here:
        files = here.files()
        found = {**_superseded(here), **_shadowed(files), **_half_written(here.folder)}
        if options.orphans is not None:
            found.update(dict.fromkeys(_orphans(options.orphans, here), "no test used it"))
        rows = [(str(path.relative_to(here.folder)), reason, path.stat().st_size) for path, reason in found.items()]
        output.table(("FILE", "WHY", "SIZE"), [(name, reason, size(length)) for name, reason, length in rows])
        remove = bool(found) and not options.dry_run
        if not found:
            output.line("nothing to remove")
        elif remove and not options.yes:
            if output.as_json or not sys.stdin.isatty():
                print("aquila: nobody can be asked here; give --yes to remove them, or --dry-run", file=sys.stderr)
                return FAILED
            question = f"Remove {count(len(found), 'file')}, {size(sum(length for *_, length in rows))}? [y/N] "
            remove = input(question).strip().lower() in ("y", "yes")
        if remove:
            for path in found:
                cassette_files.remove(path)
            _remove_empty(here.folder)
            output.line(f"removed {count(len(found), 'file')}")
        output.value({"removed": remove, "files": [{"file": name, "why": why, "bytes": n} for name, why, n in rows]})
    return 0


def _superseded(here: project.Project) -> dict[Path, str]:
    found = {}
    for pending in here.pending():
        path = pending.with_name(pending.stem.removesuffix(".pending") + pending.suffix)
        if path.exists() and path.stat().st_mtime_ns > pending.stat().st_mtime_ns:
            found[pending] = "its cassette was recorded anew since"
    return found


def _shadowed(files: list[Path]) -> dict[Path, str]:
    existing = set(files)
    return {
        path: "the .yaml file of the same name is used"
        for path in files
        if path.suffix == ".msgpack" and path.with_suffix(".yaml") in existing
    }


def _half_written(folder: Path) -> dict[Path, str]:
    now = time.time()
    return {
        path: "left half written by a process that was killed"
        for path in sorted(folder.rglob(".*.tmp"))
        if _HALF_WRITTEN.fullmatch(path.name) and now - path.stat().st_mtime > _OLD
    }


def _orphans(source: str, here: project.Project) -> Iterator[Path]:
    try:
        text = sys.stdin.read() if source == "-" else Path(source).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--orphans {source}: cannot be read: {error}") from error
    if "aquila" not in text and text.strip():
        raise ConfigError(f"--orphans {source}: this is not the output of pytest --aquila-orphans")
    for line in _ANSI.sub("", text).splitlines():
        match = _ORPHAN.match(line.strip())
        path = here.folder / match[1] if match else None
        if path is not None and path in here.files():
            yield path


def _remove_empty(folder: Path) -> None:
    """Remove the folders in which nothing is left."""
    for inner in sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True):
        if not any(inner.iterdir()):
            inner.rmdir()
