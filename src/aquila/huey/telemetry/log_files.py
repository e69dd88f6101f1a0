"""The files of a task log: bounded in size and age, written by many processes, and read by the id of a task.

The folder of the log has a folder for each period of time, named after its beginning in milliseconds since the epoch.
In each period the lines are spread over files by the id of the task, so all lines about a task are in one file of each
period. The oldest period is deleted as a whole. Each line is written by a single call that appends, so on a local disk
the lines of several processes do not mix.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import time
import zlib
from collections import OrderedDict
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

from aquila.cassettes.storage.regular_files import append_whole, open_to_append

FILES = 128
"""The number of files in a period. With more files each is shorter, so a task is found faster; but more are open."""
PERIODS = 8
"""Into how many periods the greatest age and the greatest size are divided."""
_OPEN_FILES = 16
"""How many files a process keeps open."""
_LOOK_EVERY = 1.0
"""Seconds after which a process looks again whether another process has begun a new period."""
_PERIOD_NAME = re.compile(r"\d{13}")


class LogFiles:
    """The files in one folder. Not thread-safe: the ``TaskLog`` that owns it holds a lock around each call.

    ``max_bytes`` and ``max_age`` bound the size and the age of what is kept, give or take an eighth. None: no bound.
    """

    def __init__(self, folder: Path, *, max_bytes: int | None, max_age: timedelta | None) -> None:
        self._folder = folder
        self._period_bytes = None if max_bytes is None else max(1, max_bytes // PERIODS)
        self._max_bytes = max_bytes
        self._max_age = None if max_age is None else max_age.total_seconds()
        self._period: Path | None = None  # The period that this process writes to. None before the first line.
        self._looked = float("-inf")  # When it last looked for a newer period, by the monotonic clock.
        # Descriptors of the files of that period, by name. The first is the one that was opened first, and is closed
        # where there are too many; a new period and `close` close them all.
        self._open: OrderedDict[str, int] = OrderedDict()

    def append(self, task_id: str, line: bytes) -> None:
        """Append a line about the task with an id. Raises ``OSError`` where it cannot be written."""
        period = self._period
        if period is None or time.monotonic() - self._looked > _LOOK_EVERY:
            period = self._choose_period()
        # The line break in front ends a line that a killed process has left unfinished.
        data = b"\n%s\n" % line
        try:
            self._write(period, task_id, data)
        except FileNotFoundError:  # Another process has deleted the period as too old meanwhile.
            self._write(self._choose_period(), task_id, data)

    def read(self, task_id: str | None = None) -> Iterator[bytes]:
        """Yield the lines about the task with an id, or all lines if it is None."""
        for period in _periods_in(self._folder):
            paths = sorted(period.glob("*.jsonl")) if task_id is None else [period / _file_name(task_id)]
            for path in paths:
                with contextlib.suppress(FileNotFoundError):
                    content = path.read_bytes()
                    yield from content.split(b"\n") if task_id is None else _lines_about(task_id, content)

    def close(self) -> None:
        """Close the files. The next ``append`` opens them again."""
        while self._open:
            os.close(self._open.popitem()[1])
        self._period = None

    def _write(self, period: Path, task_id: str, data: bytes) -> None:
        name = _file_name(task_id)
        path = f"{period}/{name}"
        descriptor = self._open.get(name)
        if descriptor is None:
            self._open[name] = descriptor = open_to_append(path, 0o666)
            if len(self._open) > _OPEN_FILES:
                os.close(self._open.popitem(last=False)[1])
        append_whole(descriptor, path, data)

    def _choose_period(self) -> Path:
        """Return the period to write to: the newest one, or a new one where that is full or too old."""
        self._looked = time.monotonic()
        periods = _periods_in(self._folder)
        newest = periods[-1] if periods else None
        if newest is None or self._is_over(newest):
            # Never before the newest, even if the clock was put back: all processes write to the newest by name.
            begin = max(int(time.time() * 1000), int(newest.name) + 1 if newest is not None else 0)
            fresh = self._folder / f"{begin:013d}"
            fresh.mkdir(parents=True, exist_ok=True)
            self._delete_old([*periods, fresh])
            newest, self._period = fresh, None
        if newest != self._period:
            self.close()
            self._period = newest
        return newest

    def _is_over(self, period: Path) -> bool:
        if self._max_age is not None and time.time() - int(period.name) / 1000 > self._max_age / PERIODS:
            return True
        return self._period_bytes is not None and _size_of(period) > self._period_bytes

    def _delete_old(self, periods: list[Path]) -> None:
        """Delete the periods that exceed the bounds. All lines of a period are older than the beginning of the next."""
        now, size = time.time(), 0
        for period, next_period in reversed([*pairwise(periods)]):
            size += _size_of(period)
            is_old = self._max_age is not None and now - int(next_period.name) / 1000 > self._max_age
            if is_old or (self._max_bytes is not None and size > self._max_bytes):
                shutil.rmtree(period, ignore_errors=True)  # Another process may be deleting it, too.


def can_write_in(folder: Path) -> bool:
    """Whether this process may write into a folder, or may make it where it does not exist yet."""
    # `os.path.exists`, because it raises nothing in a folder that this process may not read.
    nearest = next(each for each in (folder, *folder.absolute().parents) if os.path.exists(each))
    return nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)


def _periods_in(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if _PERIOD_NAME.fullmatch(path.name))
    except FileNotFoundError:
        return []


def _size_of(period: Path) -> int:
    size = 0
    with contextlib.suppress(FileNotFoundError), os.scandir(period) as entries:
        for entry in entries:
            size += entry.stat().st_size
    return size


def _file_name(task_id: str) -> str:
    return f"{zlib.crc32(task_id.encode(errors='replace')) % FILES:02x}.jsonl"


def _lines_about(task_id: str, content: bytes) -> Iterator[bytes]:
    """Yield the lines that begin with the id of a task: it is the first field of each."""
    begin = b'\n{"task_id":%s,' % json.dumps(task_id, ensure_ascii=False).encode(errors="replace")
    at = content.find(begin)
    while at >= 0:
        end = content.find(b"\n", at + 1)
        yield content[at + 1 : end if end >= 0 else len(content)]
        at = content.find(begin, at + 1)
