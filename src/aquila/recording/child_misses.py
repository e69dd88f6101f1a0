"""Misses of child processes, told to the test that started them through files.

A child may swallow its miss like any other code, and its parent sees an exit status at most. So it writes down each
miss, in a folder that the run of the tests has made, and the scope of the test takes it in.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING

from aquila.errors import CassetteMiss, PlayedOut

if TYPE_CHECKING:
    from aquila.recording.runtime import Run


class ChildMisses:
    """The folder of a run, or of the run that started this process. It has a file for each scope that missed."""

    def __init__(self) -> None:
        self.folder: str | None = None

    def tell(self, scope_id: str, miss: CassetteMiss) -> None:
        """Write down a miss in a scope of the parent process."""
        if self.folder is None:
            return
        row = [isinstance(miss, PlayedOut), str(miss), miss.difference, miss.group]
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        with contextlib.suppress(OSError):  # the run of the parent has ended
            file = os.open(os.path.join(self.folder, scope_id), flags, 0o600)
            try:
                os.write(file, json.dumps(row).encode() + b"\n")  # in one step: children may write at once
            finally:
                os.close(file)

    def take(self, scope_id: str) -> Iterator[CassetteMiss]:
        """The misses of the children of a scope since the last call. What was asked again is told once."""
        if self.folder is None:
            return
        path = os.path.join(self.folder, scope_id)
        try:
            os.rename(path, path + ".taken")
        except OSError:  # almost always: there are none
            return
        with open(path + ".taken", encoding="utf-8") as rows:
            for row in dict.fromkeys(rows):
                played_out, text, difference, group = json.loads(row)
                yield (PlayedOut if played_out else CassetteMiss)(text, difference=difference, group=group)


def misses_folder(run: Run) -> str | None:
    """The folder for the misses of the children of ``run``, made now if tests run in it. It ends with the run."""
    misses = run.state_of(ChildMisses)
    if misses.folder is None and run.make_outcome is not None and run.process == os.getpid():
        misses.folder = run.hold(_temporary_folder())
    return misses.folder


@contextlib.contextmanager
def _temporary_folder() -> Iterator[str]:
    folder, process = tempfile.mkdtemp(prefix="aquila-misses-"), os.getpid()
    try:
        yield folder
    finally:
        if process == os.getpid():  # not what a forked child does at its end
            shutil.rmtree(folder, ignore_errors=True)
