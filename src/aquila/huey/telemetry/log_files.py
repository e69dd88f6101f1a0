"""The files of a task log: bounded in size and age, written by many processes, and read by the id of a task.

The folder has a folder for each span of time, named after its begin in milliseconds. In each the lines are spread over
files by the id of the task: all of a task are in one file of each span. The oldest span is deleted as a whole. A line
is written by a single call that appends, so that processes do not mix theirs, on a local disk.
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

FILES = 128
"""Files of a span. With more, a file is shorter and a task is found faster; with fewer, fewer are open."""
SPANS = 8
"""Into how many spans the longest age, and the largest size, are divided."""
_OPEN_FILES = 16
"""How many files a process keeps open."""
_LOOK_EVERY = 1.0
"""Seconds after which a process looks whether another has begun a new span."""
_SPAN_NAME = re.compile(r"\d{13}")


class LogFiles:
    """The files in one folder. Not safe for threads; the log has a lock.

    ``max_bytes`` and ``max_age`` bound what is kept, give or take an eighth; None bounds nothing.
    """

    def __init__(self, folder: Path, *, max_bytes: int | None, max_age: timedelta | None) -> None:
        self._folder = folder
        self._span_bytes = None if max_bytes is None else max(1, max_bytes // SPANS)
        self._max_bytes = max_bytes
        self._max_age = None if max_age is None else max_age.total_seconds()
        self._span: Path | None = None
        self._looked = float("-inf")
        self._open: OrderedDict[str, int] = OrderedDict()  # those of the span, the one that was opened first in front

    def append(self, task_id: str, line: bytes) -> None:
        """Append a line about a task."""
        if self._span is None or time.monotonic() - self._looked > _LOOK_EVERY:
            self._choose_span()
        # The line break before it ends what a killed process has left unfinished.
        data = b"\n%s\n" % line
        try:
            os.write(self._descriptor(task_id), data)
        except FileNotFoundError:  # another process has deleted the span meanwhile
            self._choose_span()
            os.write(self._descriptor(task_id), data)

    def read(self, task_id: str | None = None) -> Iterator[bytes]:
        """Yield the lines about a task, or all."""
        for span in _spans_in(self._folder):
            paths = sorted(span.glob("*.jsonl")) if task_id is None else [span / _file_name(task_id)]
            for path in paths:
                with contextlib.suppress(FileNotFoundError):
                    content = path.read_bytes()
                    yield from content.split(b"\n") if task_id is None else _lines_about(task_id, content)

    def close(self) -> None:
        """Close the files."""
        while self._open:
            os.close(self._open.popitem()[1])
        self._span = None

    def _descriptor(self, task_id: str) -> int:
        assert self._span is not None
        name = _file_name(task_id)
        descriptor = self._open.get(name)
        if descriptor is None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._open[name] = descriptor = os.open(f"{self._span}/{name}", flags, 0o666)
            if len(self._open) > _OPEN_FILES:
                os.close(self._open.popitem(last=False)[1])
        return descriptor

    def _choose_span(self) -> None:
        """Take the newest span, or begin one where that is full or old."""
        self._looked = time.monotonic()
        spans = _spans_in(self._folder)
        newest = spans[-1] if spans else None
        if newest is None or self._is_over(newest):
            # Never before the newest, whatever the clock says: the newest is the one that all write to.
            begin = max(int(time.time() * 1000), int(newest.name) + 1 if newest is not None else 0)
            fresh = self._folder / f"{begin:013d}"
            fresh.mkdir(parents=True, exist_ok=True)
            self._delete_old([*spans, fresh])
            newest, self._span = fresh, None
        if newest != self._span:
            self.close()
            self._span = newest

    def _is_over(self, span: Path) -> bool:
        if self._max_age is not None and time.time() - int(span.name) / 1000 > self._max_age / SPANS:
            return True
        return self._span_bytes is not None and _size_of(span) > self._span_bytes

    def _delete_old(self, spans: list[Path]) -> None:
        """Delete spans that are over the bounds: all that is in them is older than the begin of the next one."""
        now, size = time.time(), 0
        for span, next_span in reversed([*pairwise(spans)]):
            size += _size_of(span)
            is_old = self._max_age is not None and now - int(next_span.name) / 1000 > self._max_age
            if is_old or (self._max_bytes is not None and size > self._max_bytes):
                shutil.rmtree(span, ignore_errors=True)  # another process may be doing the same


def _spans_in(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if _SPAN_NAME.fullmatch(path.name))
    except FileNotFoundError:
        return []


def _size_of(span: Path) -> int:
    size = 0
    with contextlib.suppress(FileNotFoundError), os.scandir(span) as entries:
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
