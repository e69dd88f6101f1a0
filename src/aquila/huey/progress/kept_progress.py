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
"""Prefixes of the keys in the result store under which a task keeps what it has so far."""

PATIENCE_TO_LOAD = 30.0
"""Seconds for which the storage is asked what was kept. Going on without it would do, and pay, everything again."""
PATIENCE_TO_STORE = 5.0
"""Seconds for which a checkpoint is tried to be stored, or deleted, before the task goes on."""


class KeptProgress:
    """What one execution of a task keeps for the next one.

    A checkpoint that cannot be stored fails nothing: what it keeps is done already, and a failure would only do it
    again. It stays in memory, and is stored together with the next one, or when the execution fails.
    """

    def __init__(self, huey: Any, task: Task, *, is_first: bool) -> None:
        """``is_first``: whether nothing can have been kept before, unless somebody gave an id twice."""
        self._huey = huey
        self._task = task
        self._is_first = is_first
        self._lock = threading.Lock()  # Threads of the task may keep checkpoints at once.
        self._checkpoints: dict[str, Any] | None = None
        self._taken: set[str] = set()
        self._has_unstored = False
        self._has_text = False
        self._deleted = False

    def load_checkpoints(self) -> dict[str, Any]:
        """Return the checkpoints of the task so far, by key. They are read from the storage once."""
        with self._lock:
            return self._load_unlocked()

    def store_checkpoint(self, key: str, value: Any) -> None:
        """Store a checkpoint. Raises what the serializer raises."""
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
        """Return a key for one use of ``name`` in this execution: the name, and the first number that is free."""
        with self._lock:
            keys = (f"{name}.{number}" for number in count(1))
            key = next(key for key in keys if key not in self._taken)
            self._taken.add(key)
            return key

    def give_key_back(self, key: str) -> None:
        """Let the next use of the name have this key. Takes no lock: the garbage collector may call it."""
        self._taken.discard(key)

    def load_partial(self) -> Any:
        """Return what was stored of an answer, or None."""
        data = self._load_data(PARTIAL_PREFIX + self._task.id)
        return None if data is EmptyData else self._huey.serializer.deserialize(data)

    def store_partial(self, value: Any) -> None:
        """Store what there is of an answer so far. Raises what the storage raises, and asks it once."""
        self._has_text = True
        self._huey.put(PARTIAL_PREFIX + self._task.id, value)
        if self._deleted:  # The storage was so slow that the task is complete meanwhile.
            self._huey.storage.delete_data(PARTIAL_PREFIX + self._task.id)

    def delete(self) -> None:
        """Remove all of it, because the task is complete. Never raises: an answer that is there is worth more."""
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
                "task %s is complete, and its checkpoints stay until they are pruned: the storage does not answer "
                "(%s: %s)",
                *(self._task.id, type(error).__name__, error),
            )

    def _load_unlocked(self) -> dict[str, Any]:
        if self._checkpoints is None:
            data = self._load_data(CHECKPOINTS_PREFIX + self._task.id)
            found = {} if data is EmptyData else self._huey.serializer.deserialize(data)
            if not isinstance(found, dict):
                logger.warning("task %s: its checkpoints were not written by Aquila, and are ignored", self._task.id)
                found = {}
            self._checkpoints = found
        return self._checkpoints

    def _load_data(self, key: str) -> Any:
        try:
            return ask_until_answered(
                lambda: self._huey.get_raw(key, peek=True), patience=self._limit(PATIENCE_TO_LOAD)
            )
        except Exception as error:
            error.add_note(
                f"task {self._task.id} cannot go on without what it may have kept: the storage was asked for it "
                f"again and again for {PATIENCE_TO_LOAD:g} s"
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
        left: float = self._task.time_remaining
        return min(patience, left)
