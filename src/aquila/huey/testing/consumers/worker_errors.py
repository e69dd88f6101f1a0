"""Collects for a test the errors of tasks, and errors that workers only log, from threads, forks and programs."""

from __future__ import annotations

import contextlib
import json
import os
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aquila.cassettes.storage.regular_files import open_to_append
from aquila.errors import RemoteTaskError
from aquila.huey.tasks.running_task import FLOW_CONTROL
from aquila.huey.testing.attribute_patches import replace_attributes

_HOOK = "aquila run_consumer"


class WorkerErrors:
    """The errors so far, the oldest first. Other processes than the owner write theirs to ``file``.

    ``owner`` is the id of the process that keeps its errors in memory; by default this process. ``run_consumer`` owns
    the object, and the folder of the file, for one consumer.
    """

    def __init__(self, file: Path, *, owner: int | None = None) -> None:
        self._file = file
        self._owner = os.getpid() if owner is None else owner
        self._own: list[BaseException] = []  # Worker threads append, and `collect` adds those of the file.
        self._read = 0  # Rows of the file that were read.

    def note(self, error: BaseException) -> None:
        """Add an error, in any process."""
        if os.getpid() == self._owner:
            self._own.append(error)
            return
        kind, text = type(error), "".join(traceback.format_exception(error))
        row = json.dumps([f"{kind.__module__}.{kind.__qualname__}", text])
        file = open_to_append(self._file)
        try:
            os.write(file, row.encode() + b"\n")  # One call that appends, because several workers may write at once.
        finally:
            os.close(file)

    def collect(self) -> list[BaseException]:
        """Return all errors so far."""
        with contextlib.suppress(FileNotFoundError):
            # Without what follows the last line break: a worker may be writing a row.
            rows = self._file.read_text(encoding="utf-8").split("\n")[:-1]
            self._own += [RemoteTaskError(*json.loads(row)) for row in rows[self._read :]]
            self._read = len(rows)
        return self._own

    @contextlib.contextmanager
    def watch(self, huey: Any) -> Iterator[None]:
        """Note the errors of workers of a Huey that are started within the block."""
        # These attributes of the instance hide its methods, for the threads and the forks that begin within the block.
        execute, dequeue = huey.execute, huey.dequeue

        def watched_execute(task: Any, timestamp: Any = None) -> Any:
            try:
                return execute(task, timestamp)
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:  # noqa: BLE001 -- pytest.fail() in a task would end the worker unseen
                self.note(error)

        def watched_dequeue() -> Any:
            try:
                return dequeue()
            except Exception as error:
                self.note(error)
                raise

        def failed(task: Any, value: Any, error: BaseException | None) -> None:
            if error is not None and not task.retries and not isinstance(error, FLOW_CONTROL):
                self.note(error)

        around = huey._post_execute.get(_HOOK)  # of a consumer around this one; private to Huey 3.5
        huey.post_execute(_HOOK)(failed)
        try:
            with replace_attributes(
                huey, execute=watched_execute, dequeue=watched_dequeue, report_unreadable=self.note
            ):
                yield
        finally:
            huey.unregister_post_execute(_HOOK)
            if around is not None:
                huey.post_execute(_HOOK)(around)
