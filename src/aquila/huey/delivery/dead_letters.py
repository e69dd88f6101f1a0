"""The dead letters of a queue: messages that nobody could read, and tasks that failed for good or were given up.

::

    letters = dead_letters(huey)
    for letter in letters:
        print(letter.id, letter.at, letter.kind, letter.reason)
    letters.retry(letter.id)
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import msgpack
from huey.api import Task
from huey.constants import EmptyData
from huey.utils import Error

from aquila.errors import MessageRejected, TaskError
from aquila.huey.delivery.unknown_tasks import ids_of_followers, read_unknown
from aquila.huey.limits.unique_jobs import claim_again, release_claim
from aquila.huey.scopes.scope_reference import KEY
from aquila.huey.serializing.sendable_values import make_text_sendable
from aquila.huey.serializing.serializer import MsgpackSerializer
from aquila.huey.state import state_of
from aquila.huey.tasks.task_ends import iterate_pipeline
from aquila.huey.tasks.task_functions import parameters_of
from aquila.json_fields import string, string_or_none

TABLE = "dead"
"""The table of the shared state. Its keys are the ids of letters, and its order is the time at which they were put."""

LetterKind: TypeAlias = Literal["unreadable", "unknown", "failed", "lost"]

KINDS = get_args(LetterKind)
"""All kinds of letters."""

# Seconds for which a letter that is being retried is not retried again. A process that is killed in the midst of a
# retry leaves its mark on the letter; after this time the mark counts for nothing.
_RETRIED_FOR = 60.0
_PAGE = 200


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that is kept because no worker could execute it.

    - ``id``: the id of the task where that is known, otherwise a digest of the message.
    - ``kind``: ``unreadable`` (damaged, of another version, serializer or secret), ``unknown`` (the consumer has no
      task of this name), ``failed`` (the task failed and had no retry left) or ``lost`` (its workers were lost again
      and again).
    - ``reason``: why, on one line. ``details``: the traceback of a task that failed.
    - ``at``: when it became a dead letter, in UTC.
    - ``message``: the message as it was in the queue. ``priority``: the priority of its task.
    - ``task_id``, ``task_name``: the id of the task, and its name with the module; None where they are not known.

    Examples:
        >>> from aquila.huey import MemoryHuey, dead_letters
        >>> from aquila.huey.testing import drain_queue, use_test_queue
        >>> huey = MemoryHuey("jobs")
        >>> @huey.task(name="divide")
        ... def divide(a, b):
        ...     return a / b
        >>> with use_test_queue(huey):
        ...     result = divide(1, 0)
        ...     runs = drain_queue(raise_errors=False)
        ...     letter = dead_letters(huey).list()[0]
        >>> letter.kind, letter.reason, letter.id == result.id
        ('failed', 'ZeroDivisionError: division by zero', True)
    """

    id: str
    kind: LetterKind
    reason: str
    at: dt.datetime
    message: bytes
    task_id: str | None = None
    task_name: str | None = None
    details: str = ""
    priority: float | None = None


class DeadLetters:
    """The dead letters of one Huey, oldest first. ``dead_letters(huey)`` returns them.

    ``huey.keep_dead_letters`` bounds their number, and ``huey.keep_dead_letters_for`` (a ``timedelta``) their age. The
    oldest are removed first.

    Examples:
        >>> from aquila.huey import MemoryHuey, dead_letters
        >>> from aquila.huey.testing import drain_queue, use_test_queue
        >>> huey = MemoryHuey("jobs")
        >>> @huey.task()
        ... def divide(a, b):
        ...     return a / b
        >>> with use_test_queue(huey):
        ...     result = divide(1, 0)
        ...     runs = drain_queue(raise_errors=False)
        ...     letters = dead_letters(huey)
        ...     before = len(letters)
        ...     again = letters.retry(result.id)     # it is in the queue again, and no dead letter any more
        ...     before, len(letters), huey.pending_count()
        (1, 0, 1)
    """

    def __init__(self, huey: Any) -> None:
        self._huey = huey
        self._state = state_of(huey)

    def __len__(self) -> int:
        return self._state.count(TABLE)

    def __iter__(self) -> Iterator[DeadLetter]:
        """Iterate over the letters that there are now, oldest first. Meanwhile they may be retried and dropped."""
        newest = self._state.entries(TABLE, limit=1, newest_first=True)
        # Without this bound, a loop that retries letters would meet the new letters of jobs that have failed again.
        below = math.nextafter(newest[0].order, math.inf) if newest else 0.0
        for page in self._state.iterate_pages(TABLE, size=_PAGE, below=below):
            yield from (_read_letter(entry.key, entry.value) for entry in page)

    def list(self, *, limit: int = 100, offset: int = 0, newest_first: bool = False) -> list[DeadLetter]:
        """Return up to ``limit`` letters, after the first ``offset``; oldest first unless ``newest_first``."""
        found = self._state.entries(TABLE, limit=limit, offset=offset, newest_first=newest_first)
        return [_read_letter(entry.key, entry.value) for entry in found]

    def get(self, id: str) -> DeadLetter | None:
        """Return the letter with an id, or None."""
        value = self._state.get(TABLE, id)
        return None if value is None else _read_letter(id, value)

    def retry(self, id: str) -> DeadLetter:
        """Enqueue the message of the letter with an id again, remove the letter, and return it.

        A task that failed gets all its retries again. The errors that are stored as the results of the task, and of the
        tasks that follow it, are removed. A message that cannot be read here is enqueued as it is: perhaps a worker can
        read it. Of several callers one succeeds. Raises ``TaskError`` where there is no such letter, where it has no
        message, where it is being retried, or where its task is unique and an identical job is queued or runs.
        """
        # First the letter is marked by a compare-and-set, so that of two callers one enqueues. Where enqueuing fails,
        # the mark is removed. Where this process is killed in between, the mark runs out after `_RETRIED_FOR` seconds.
        value = self._state.get(TABLE, id)
        if value is None:
            raise TaskError(f"the queue {self._huey.name!r} has no dead letter {id!r}; list them to see which it has")
        fields, now = _unpack(value), self._state.now()
        retried_at = fields.get("retried_at")
        claimed = msgpack.packb({**fields, "retried_at": now})
        is_claimed = isinstance(retried_at, float) and abs(now - retried_at) < _RETRIED_FOR
        if is_claimed or not self._state.replace(TABLE, id, value, claimed):
            raise TaskError(f"the dead letter {id!r} is being retried by somebody else")
        with contextlib.ExitStack() as undo:
            undo.callback(self._state.replace, TABLE, id, claimed, value)
            letter = _read_letter(id, value)
            if not letter.message:
                raise TaskError(
                    f"the dead letter {id!r} has no message, because its task could not be serialized: enqueue the "
                    "task again"
                )
            task, message, priority = self._prepare_message(letter)
            if task is not None:
                claim_again(self._huey, task)
                undo.callback(release_claim, self._huey, task)
            # Removed before the job is enqueued: after that a worker may store a new error, which cannot be told from
            # the old one. If this process fails here the letter is left, and can be retried.
            for each in self._ids_of_jobs(letter, task):
                self._forget_error(each)
            self._huey.storage.enqueue(message, priority)
            undo.pop_all()
        # Removed only if it has our mark: the job may have failed again by now, and have a new letter.
        self._state.remove(TABLE, id, claimed)
        return letter

    def read_task(self, letter: DeadLetter) -> Task | None:
        """Return the task in a letter. None where this process cannot read it, or does not have the task."""
        try:
            task: Task = self._huey.deserialize_task(letter.message)
        except Exception:  # noqa: BLE001 -- whatever a serializer raises
            return None
        return task

    def read_call(self, letter: DeadLetter) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """Return the arguments of the call in a letter: those without a name, and those with one.

        An argument by position has the name of its parameter if the task is known here. None where they could only be
        read by running code, as in a pickle, or not at all.
        """
        if not isinstance(self._huey.serializer, MsgpackSerializer):
            return None
        try:
            message = self._huey.serializer.deserialize(letter.message, "task")
        except MessageRejected:
            return None
        # Huey sends `args` as it was given them, perhaps as no tuple, and another producer may leave both out.
        args = message.args if isinstance(message.args, tuple) else (message.args,)
        named = {name: value for name, value in (message.kwargs or {}).items() if name != KEY}
        known = self._huey._registry._registry.get(message.name)
        names = () if known is None else parameters_of(known)
        return args[len(names) :], {**dict(zip(names, args, strict=False)), **named}

    def _prepare_message(self, letter: DeadLetter) -> tuple[Task | None, bytes, float | None]:
        if (task := self.read_task(letter)) is None:
            return None, letter.message, letter.priority
        task.eta, task.retries = None, max(task.retries or 0, type(task).default_retries)
        task.retry_delay = type(task).default_retry_delay  # Huey has multiplied it by the back-off at each retry.
        task._aquila_attempt, task._aquila_deliveries, task._aquila_losses = 1, 0, 0
        vars(task).pop("_aquila_waits", None)
        if task.expires:
            task.resolve_expires(self._huey.utc)
        return task, self._huey.serialize_task(task), task.priority

    def _ids_of_jobs(self, letter: DeadLetter, task: Task | None) -> Sequence[str]:
        """Return the ids of the job in a letter and of what follows it, as far as they are known."""
        if task is None:
            # The task, or one that follows it, is not registered here; the message may be readable all the same.
            message = read_unknown(self._huey, letter.message)
            if message is not None:
                return [message.id, *ids_of_followers(message)]
            return [letter.task_id] if letter.task_id else []
        return [each.id for each in iterate_pipeline(task)]

    def _forget_error(self, id: str) -> None:
        """Remove the result of a task if it is an error."""
        data = self._huey.storage.peek_data(id)
        try:
            is_error = data is not EmptyData and isinstance(self._huey.serializer.deserialize(data), Error)
        except Exception:  # noqa: BLE001 -- whatever is stored there, and whatever a serializer raises
            return
        if is_error:
            self._huey.storage.delete_data(id)

    def drop(self, id: str) -> bool:
        """Remove the letter with an id for good. Returns whether there was one."""
        return self._state.delete(TABLE, id) > 0

    def drop_all(self) -> int:
        """Remove all letters for good. Returns how many there were."""
        count = len(self)
        self._state.drop(TABLE)
        return count

    # Called by `burying`.

    def put(self, letter: DeadLetter) -> None:
        """Keep a letter, in the place of one with the same id, and remove those that are too old or too many.

        Its time is taken from the clock of the storage.
        """
        now = self._state.now()
        texts = {
            "reason": letter.reason, "details": letter.details,
            "task_id": letter.task_id, "task_name": letter.task_name,
        }  # fmt: skip
        # Made sendable, so that packing cannot fail: the caller takes an exception from here for a storage that is
        # away, and would try again for ever.
        sendable = {name: text and make_text_sendable(text) for name, text in texts.items()}
        fields = {"at": now, "kind": letter.kind, "message": letter.message, "priority": letter.priority, **sendable}
        self._state.put(TABLE, letter.id, msgpack.packb(fields), order=now)
        # Each time. A process that is replaced every day may put too few letters to do it only after some of them.
        self._state.delete_below(TABLE, now - self._huey.keep_dead_letters_for.total_seconds())
        surplus = len(self) - self._huey.keep_dead_letters
        if surplus > 0:
            self._state.delete_below(TABLE, float("inf"), limit=surplus)


def identify_message(message: bytes) -> str:
    """Return a digest of a message that nobody can read, as 32 hexadecimal digits. It is collision-resistant."""
    return hashlib.sha256(message).hexdigest()[:32]


def dead_letters(huey: Any) -> DeadLetters:
    """Return the dead letters of a Huey: messages that no worker could read, and tasks that none could finish.

    In a test they are those of the test's own queue. Raises ``ConfigError`` for a storage other than Huey's own.

    Examples:
        >>> from aquila.huey import MemoryHuey, dead_letters
        >>> len(dead_letters(MemoryHuey("jobs")))
        0
    """
    return DeadLetters(huey)


def _unpack(value: bytes) -> dict[str, Any]:
    """Return the fields of a stored letter; none for a value that is no letter. Anybody may have written it."""
    try:
        fields = msgpack.unpackb(value)
    except (ValueError, msgpack.UnpackException):
        return {}
    return fields if isinstance(fields, dict) and all(isinstance(name, str) for name in fields) else {}


def _read_letter(id: str, value: bytes) -> DeadLetter:
    """Return the letter with an id, whatever is stored there."""
    fields = _unpack(value)
    message, at = fields.get("message"), _as_time(fields.get("at"))
    kind: LetterKind | None = next((kind for kind in KINDS if kind == fields.get("kind")), None)
    if kind is None or not isinstance(message, bytes):
        reason = "this entry of the dead letters was not written by this version"
        return DeadLetter(id, "unreadable", reason, at, value)
    priority = fields.get("priority")
    return DeadLetter(
        id=id,
        kind=kind,
        reason=string(fields.get("reason")),
        at=at,
        message=message,
        task_id=string_or_none(fields.get("task_id")),
        task_name=string_or_none(fields.get("task_name")),
        details=string(fields.get("details")),
        priority=priority if isinstance(priority, int | float) else None,
    )


def _as_time(seconds: Any) -> dt.datetime:
    try:
        return dt.datetime.fromtimestamp(seconds, dt.UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        return dt.datetime.fromtimestamp(0, dt.UTC)
