"""Reads the report of ``pytest --aquila-orphans`` about cassettes that no test used."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from aquila.cassettes.storage import cassette_files
from aquila.cassettes.storage.recorded_uses import UNUSED_REPORT
from aquila.cli import project
from aquila.errors import ConfigError
from aquila.plurals import count_of
from aquila.recording import runtime

_AGAIN = "Run all tests, without options that select some of them: pytest --aquila-orphans=unused.json"


def read_report(source: str, here: project.Project) -> tuple[list[Path], list[str]]:
    """Return the cassettes that no test used according to a report, and sentences about those that are left out.

    ``source`` is the path of the report, or ``-`` for standard input. Cassettes that have changed since the run, and
    those of another folder, are left out. Raises ``ConfigError`` for a file that is not such a report, and for the
    report of a partial run.
    """
    report = _load_report(source)
    if report.get("complete") is not True:
        reasons = "; ".join(map(str, report.get("partial_because") or ["it does not say why"]))
        raise ConfigError(f"--orphans {source}: the run was partial, so nothing is removed: {reasons}. {_AGAIN}")
    root = runtime.current_settings().root.absolute()
    known = set(here.list_cassettes())
    found: list[Path] = []
    elsewhere: dict[str, int] = {}
    notes: list[str] = []
    for row in report["unused"]:
        match row:
            case {"folder": str(folder), "file": str(file), "sha256": str(digest)} if "\0" not in folder + file:
                path = here.folder / file
                if (root / folder).resolve() != here.folder.resolve():
                    elsewhere[folder] = elsewhere.get(folder, 0) + 1
                elif path in known and cassette_files.is_cassette_name(path, here.folder):
                    if hashlib.sha256(path.read_bytes()).hexdigest() == digest:
                        found.append(path)
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
        raise ConfigError(f"--orphans {source}: cannot be read: {error}") from error
    try:
        report: Any = json.loads(data)
    except (ValueError, RecursionError):
        report = None
    is_report = isinstance(report, dict) and report.get("report") == UNUSED_REPORT
    if not is_report or not isinstance(report.get("unused"), list):
        raise ConfigError(f"--orphans {source}: this is no report of unused cassettes. {_AGAIN}")
    return dict(report)
