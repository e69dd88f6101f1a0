"""The checkpoints and the text so far of one task, in the result store of its Huey."""

from __future__ import annotations

import threading
from itertools import count
from typing import Any

from huey.api import Task
from huey.constants import EmptyData

from aquila.huey.progress.storage_patience import ask_until_answered, logger

CHECKPOINTS_PREFIX = "aquila.checkpoints."
PARTIAL_PREFIX = "aquila.partial."
"""Prefixes of the keys in the result store under which a task keeps its progress. The id of the task follows."""

PATIENCE_TO_LOAD = 30.0
"""Seconds for which the storage is asked for the kept progress. Without it all work would be done, and paid, again."""
PATIENCE_TO_STORE = 5.0
"""Seconds for which storing or deleting a checkpoint is tried again before the task goes on."""


class KeptProgress:
    """The progress that one execution of a task keeps for the next one.

    A checkpoint that cannot be stored fails nothing: its work is done already, and a failure would only do it again. It
    stays in memory, and is stored together with the next one, or when the execution fails.

    The ``CurrentTask`` of an execution owns it, and it is gone with the execution.
    """

    def __init__(self, huey: Any, task: Task, *, is_first: bool) -> None:
        """``is_first``: this is the first execution, so nothing was kept before, unless an id was given twice."""
        self._huey = huey
        self._task = task
        self._is_first = is_first
        # Guards `_checkpoints`, `_taken` and `_has_unstored`: threads of the task may keep checkpoints at once.
        # fork: belongs to one execution, which goes on only in the parent
        self._lock = threading.Lock()
        self._checkpoints: dict[str, Any] | None = None  # None until they are read. Replaced, never changed in place.
        self._taken: set[str] = set()  # The keys that streams of this execution use; see `take_key`.
        self._has_unstored = False  # Whether the storage lacks the newest checkpoints.
        self._has_text = False  # Whether this execution has stored a text, so that there is one to delete.
        self._deleted = False  # Set once, before anything is deleted; `store_partial` looks at it.

    def load_checkpoints(self) -> dict[str, Any]:
        """Return the checkpoints of the task so far, by key. They are read from the storage only once.

        Raises what the storage raises, after it was asked again for ``PATIENCE_TO_LOAD`` seconds.
        """
        with self._lock:
            return self._load_unlocked()

    def store_checkpoint(self, key: str, value: Any) -> None:
        """Store a checkpoint. Raises what the serializer raises, and then keeps nothing."""
        with self._lock:
            checkpoints = {**self._load_unlocked(), key: value}
            data = self._huey.serializer.serialize(checkpoints)
            self._checkpoints = checkpoints
            self._store_unlocked(data)

    def store_unstored(self) -> None:
        """Try once more to store the checkpoints that could not be stored, because the execution has failed."""
        with self._lock:
            if self._has_unstored:
                self._store_unlocked(self._huey.serializer.serialize(self._checkpoints))

    def take_key(self, name: str) -> str:
        """Return a key for one use of ``name`` in this execution: the name and the lowest free number, from 1."""
        with self._lock:
            keys = (f"{name}.{number}" for number in count(1))
            key = next(key for key in keys if key not in self._taken)
            self._taken.add(key)
            return key

    def give_key_back(self, key: str) -> None:
        """Let the next use of the name have this key."""
        # Without the lock, because the garbage collector may call this in a thread that holds it. `discard` is atomic.
        self._taken.discard(key)

    def load_partial(self) -> Any:
        """Return the stored part of an answer, or None. Raises as ``load_checkpoints`` does."""
        data = self._load_data(PARTIAL_PREFIX + self._task.id)
        return None if data is EmptyData else self._huey.serializer.deserialize(data)

    def store_partial(self, value: Any) -> None:
        """Store a part of an answer. Asks the storage only once, and raises what it raises."""
        self._has_text = True
        self._huey.put(PARTIAL_PREFIX + self._task.id, value)
        # The thread that stores may be slower than the task. Where the task has completed meanwhile, `delete` has come
        # before this value, which nobody would ever remove.
        if self._deleted:
            self._huey.storage.delete_data(PARTIAL_PREFIX + self._task.id)

    def delete(self) -> None:
        """Remove everything, because the task is complete. Never raises: the answer of the task is worth more."""
        self._deleted = True
        keys = []
        if self._checkpoints is not None or not self._is_first:
            keys.append(CHECKPOINTS_PREFIX + self._task.id)
        if self._has_text or not self._is_first:
            keys.append(PARTIAL_PREFIX + self._task.id)
        try:
            for key in keys:
                ask_until_answered(lambda key=key: self._huey.storage.delete_data(key), patience=PATIENCE_TO_STORE)  # type: ignore[misc]
        except Exception as error:  # noqa: BLE001 -- whatever a storage raises
            logger.warning(
                "task %s is complete, but its checkpoints stay until they are pruned: the storage does not answer "
                "(%s: %s)",
                *(self._task.id, type(error).__name__, error),
            )

    def _load_unlocked(self) -> dict[str, Any]:
        if self._checkpoints is None:
            data = self._load_data(CHECKPOINTS_PREFIX + self._task.id)
            self._checkpoints = {} if data is EmptyData else self._huey.serializer.deserialize(data)
        return self._checkpoints

    def _load_data(self, key: str) -> Any:
        try:
            return ask_until_answered(
                lambda: self._huey.get_raw(key, peek=True), patience=self._limit(PATIENCE_TO_LOAD)
            )
        except Exception as error:
            error.add_note(
                f"task {self._task.id} cannot go on without the progress that it may have kept: the storage was asked "
                "for it again and again"
            )
            raise

    def _store_unlocked(self, data: bytes) -> None:
        key = CHECKPOINTS_PREFIX + self._task.id
        try:
            ask_until_answered(lambda: self._huey.storage.put_data(key, data), patience=self._limit(PATIENCE_TO_STORE))
            self._has_unstored = False
        except Exception as error:  # noqa: BLE001 -- whatever a storage raises
            self._has_unstored = True
            logger.warning(
                "task %s goes on, and its checkpoints could not be stored (%s: %s). They are stored with the next one, "
                "or when this attempt fails",
                *(self._task.id, type(error).__name__, error),
            )

    def _limit(self, patience: float) -> float:
        # No longer than the task has left. `time_remaining` of Huey is infinite for a task without a timeout.
        left: float = self._task.time_remaining
        return min(patience, left)
