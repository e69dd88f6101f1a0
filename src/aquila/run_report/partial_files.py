"""The files in which a report is collected during the run: lines of JSON, each written when something is known.

A line says that a test has begun or what it did, or has a part of the report that belongs to no test. So a killed run
loses only its last tests, and memory does not grow with the run. Each process has its own file.
"""

from __future__ import annotations

import errno
import glob
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Literal, TypeAlias

import filelock

from aquila.run_report.schema import Body, RunReport, Test
from aquila.run_report.totals import sum_up

SUFFIX = ".partial"
"""The suffix of a report's file name while it is collected."""

MOST_BODIES = 256 * 1024 * 1024
"""The greatest number of characters of all bodies in a report, binary ones in base64. Others have only a size."""

LineKind: TypeAlias = Literal["begins", "test", "prices", "note"]


class UnwritablePart(Exception):
    """The file in which a report is collected cannot be written. The text is the reason."""


class PartialFile:
    """The file of one process. Only that process writes the file and holds its lock.

    Raises ``OSError`` if the file cannot be written, and ``BlockingIOError`` if another process has locked it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # Emptied only under the lock, because another process may be collecting into it.
        file = path.open("a", encoding="utf-8")
        if not _lock(file):
            file.close()
            raise BlockingIOError(errno.EAGAIN, "another run is writing the same report")
        file.truncate(0)
        self._file: IO[str] | None = file

    def write(self, kind: LineKind, value: Any, bodies: Mapping[str, Body] | None = None) -> None:
        """Write a line and flush it. Raises ``UnwritablePart``."""
        if self._file is not None:
            row = [kind, value] if bodies is None else [kind, value, bodies]
            line = json.dumps(row, ensure_ascii=True, separators=(",", ":")) + "\n"
            try:
                self._file.write(line)
                self._file.flush()
            except OSError as error:
                raise UnwritablePart(error.strerror or str(error)) from error

    def close(self) -> None:
        """Close the file. Raises ``OSError`` if something of it was not written."""
        file, self._file = self._file, None
        if file is not None:
            file.close()


def is_in_use(path: Path) -> bool:
    """Whether a running process is collecting into a file."""
    with path.open("a", encoding="utf-8") as file:
        return not _lock(file)


def _lock(file: IO[str]) -> bool:
    """Lock a file until it is closed. Returns False if another process has locked it, True if locks are impossible."""
    try:
        return filelock.lock_descriptor(file.fileno(), blocking=False)
    except OSError:  # a file system without locks
        return True


def find_parts(path: Path) -> list[Path]:
    """Return the files of a report: that of its own process, and those of the workers beside it."""
    others = sorted(each for each in path.parent.glob(f"{glob.escape(path.name)}.*") if each.suffix[1:].isalnum())
    return [each for each in (path, *others) if each.is_file()]


def join_parts(parts: Iterable[Path], head: RunReport) -> RunReport:
    """Fill the report ``head`` with the contents of the files, and return it.

    ``head`` has everything but tests and bodies; its totals are computed here.
    """
    rows: list[tuple[float, str, Test]] = []
    bodies, notes, prices = head["bodies"], dict.fromkeys(head["notes"]), {}
    left = MOST_BODIES
    for part in parts:
        begun: dict[str, tuple[float, str, Test]] = {}
        for kind, value, *more in _read_rows(part):
            if kind == "begins":
                begun[value["identity"]] = value["at"], value["identity"], value["test"]
            elif kind == "test":
                at, _, _ = begun.pop(value["identity"], (0.0, "", None))
                rows.append((at, value["identity"], value["test"]))
                left = add_bodies(bodies, more[0] if more else {}, left)
            elif kind == "note":
                notes[value] = None
            else:
                prices.update(value)
        rows += begun.values()  # tests that began and did not end
    rows.sort(key=lambda row: row[0])
    _number_attempts([(identity, test) for _, identity, test in rows])
    head["tests"] = [test for _, _, test in rows]
    head["notes"] = list(notes)
    if prices:
        head["prices"] = list(prices.values())
    head["totals"] = sum_up(head["tests"], pending=len(head["pending"]), orphans=len(head["orphans"]))
    return head


def add_bodies(bodies: dict[str, Body], more: Mapping[str, Body], left: int) -> int:
    """Add bodies that are not there yet, as far as ``left`` characters go. Return how many characters are left then."""
    for key, body in more.items():
        if key not in bodies:
            bodies[key], left = _within(body, left)
    return left


def _within(body: Body, left: int) -> tuple[Body, int]:
    name: Literal["text", "base64"] = "base64" if "base64" in body else "text"
    size = len(body.get(name, "")) + len(body.get("end", ""))
    if size <= left:
        return body, left - size
    body[name], body["cut"] = "", body.get("cut", 0) + size
    body.pop("end", None)
    return body, left


def _read_rows(part: Path) -> Iterator[Any]:
    with part.open(encoding="utf-8") as file:
        for line in file:
            try:
                yield json.loads(line)
            except ValueError:  # the process was killed while it wrote this line
                continue


def _number_attempts(tests: Sequence[tuple[str, Test]]) -> None:
    last: dict[str, Test] = {}
    for identity, test in tests:
        before = last.get(identity)
        if before is not None:
            before["outcome"] = "rerun"
            test["attempt"] = before["attempt"] + 1
        last[identity] = test
