"""Files of rows through which the child processes of a run tell their parent something. ``child_messages`` says what.

Nobody reads a row twice, and no lock is needed between processes: a row is appended in one piece, and the file stays.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from aquila.cassettes.storage.regular_files import append_whole, open_to_append
from aquila.fork_locks import renewed_in_child
from aquila.lazy_imports import lazy_modules
from aquila.recording import runtime

if TYPE_CHECKING:
    from aquila import temporary_folders
    from aquila.cassettes.storage import file_replacement
    from aquila.recording.runtime import Run
else:
    lazy_modules(globals(), "aquila: temporary_folders", "aquila.cassettes.storage: file_replacement")

MOST_ROWS = 10_000
"""How many rows a process appends at most to a file that has a limit: a loop would fill the disk."""
_PURPOSE = "misses"
"""The purpose of the folder, for its name."""
_PATIENCE, _PAUSE = 1.0, 0.005
"""Seconds to wait for the row of a child that has made its file but may not have written yet, and between two looks."""


class MessageFiles:
    """The files in the folder of a run, or of the run that started this process. Without a folder there are none."""

    def __init__(self, folder: str | None = None) -> None:
        self.folder = folder
        self._time_when_empty: int | None = None  # see `may_have_rows`; known to the process that made the folder
        # Two threads that read one file must not both take the same rows.
        self._lock = renewed_in_child(threading.Lock())
        self._read: dict[str, int] = {}  # how many bytes of each file were taken so far
        self._appended: dict[str, int] = {}  # how many rows this process was to append, by files that have a limit
        self._torn: dict[str, bool] = {}  # files whose last row is incomplete; the value says whether that was told

    def make_folder(self, run: Run) -> str:
        """Make the folder, at the place that children are told, and return it. It is removed with the run.

        Raises ``OSError`` if it cannot be made.
        """
        if run.messages is None:
            run.messages = runtime.new_place_of_messages(temporary_folders.temporary_root())
        root, mark, _ = run.messages
        try:
            return run.hold(temporary_folders.TemporaryFolder(_PURPOSE, mark, root))
        except FileExistsError:  # this was called before, in a test that had put something in place of `open`
            return temporary_folders.path_of(_PURPOSE, mark, root)

    def use_folder(self, folder: str) -> None:
        """Use a folder from now on. This process has made it, and no child knows it yet."""
        # A time in the past, so that a file that is added within the same tick of the clock changes it, too.
        earlier = time.time() - 3600
        with contextlib.suppress(OSError):
            os.utime(folder, (earlier, earlier))
            self._time_when_empty = os.stat(folder).st_mtime_ns
        self.folder = folder

    def use_folder_of_parent(self, run: Run) -> None:
        """Use the folder of the run that has started this process, if it has told its place."""
        if run.messages is not None:
            root, mark, _ = run.messages
            self.folder = temporary_folders.path_of(_PURPOSE, mark, root)

    @property
    def may_have_rows(self) -> bool:
        """Whether a file may have been added since the folder was made. One system call for all files."""
        if self.folder is None:
            return False
        try:
            return os.stat(self.folder).st_mtime_ns != self._time_when_empty
        except OSError:  # somebody has removed the folder
            return True

    def append(self, name: str, row: Any) -> None:
        """Append a row, which JSON can represent, to a file."""
        if self.folder is None:
            return
        with contextlib.suppress(OSError):  # the run of the parent has ended
            path = os.path.join(self.folder, name)
            file = open_to_append(path)
            try:
                append_whole(file, path, json.dumps(row).encode() + b"\n")  # children do not mix lines
            finally:
                os.close(file)

    def append_in_limit(self, name: str, row: Any) -> int:
        """Append a row, unless this process has appended very many to this file. Return how many it was asked to."""
        self._appended[name] = asked = self._appended.get(name, 0) + 1
        if asked <= MOST_ROWS:
            self.append(name, row)
        return asked

    def take_rows(self, name: str, *, is_last: bool = False, again: bool = False) -> Sequence[Any]:
        """Return the rows of a file that no earlier call has returned. Equal rows count once, a damaged one is None.

        ``is_last`` says that nothing is taken later. Then this waits for a child that is just writing. With ``again``
        the next call returns the rows once more.
        """
        if self.folder is None:
            return ()
        path = f"{self.folder}{os.sep}{name}"  # each test asks a few times, and `os.path.join` takes longer
        if not os.access(path, os.F_OK):  # as it is almost always, and told faster than by an exception
            return ()
        patience = _PATIENCE if is_last else 0
        # The file stays: a child that has opened it may be about to write. Its last line may be incomplete.
        with self._lock, open(path, "rb") as file:
            begin = file.seek(self._read.get(name, 0))
            rows = file.read()
            if patience and name not in self._torn:
                while _is_torn(begin, rows) and patience > 0:  # a child may be about to write
                    time.sleep(_PAUSE)
                    patience -= _PAUSE
                    rows += file.read()
                if _is_torn(begin, rows):
                    self._torn[name] = False
            whole = rows.rfind(b"\n") + 1
            self._read[name] = begin if again else begin + whole
        return [_parse_row(row) for row in dict.fromkeys(rows[:whole].decode("utf-8", "replace").split("\n")[:-1])]

    def take_torn(self, name: str) -> bool:
        """Whether the last row of a file was still incomplete when the last rows were taken. Says so once."""
        is_torn = self._torn.get(name) is False
        if is_torn:
            self._torn[name] = True
        return is_torn

    def has_file(self, name: str) -> bool:
        """Whether there is a file with that name."""
        return self.folder is not None and os.path.exists(os.path.join(self.folder, name))

    def replace_file(self, name: str, value: Any) -> None:
        """Make a file that has only ``value``, in the place of an earlier one; if the value is empty, none."""
        if self.folder is None:
            return
        path = os.path.join(self.folder, name)
        if value:
            with open(path + ".new", "w", encoding="utf-8", opener=_open_private) as file:
                json.dump(value, file)
            # In one step: another process may read it at any time.
            file_replacement.change_open_file(os.replace, path + ".new", path)
        else:
            with contextlib.suppress(FileNotFoundError):
                file_replacement.change_open_file(os.remove, path)

    def read_file(self, name: str) -> Any:
        """Return the value of a file that ``replace_file`` has made; None if there is none."""
        if self.folder is None:
            return None
        try:
            with open(os.path.join(self.folder, name), encoding="utf-8") as file:
                return json.load(file)
        except OSError:  # almost always there is none
            return None


def _is_torn(begin: int, rows: bytes) -> bool:
    """Whether a file has an incomplete row. ``rows`` are its bytes from the offset ``begin`` on."""
    return not rows.endswith(b"\n") if rows else not begin


def _parse_row(row: str) -> Any:
    try:
        return json.loads(row)
    except (ValueError, RecursionError):
        return None


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
