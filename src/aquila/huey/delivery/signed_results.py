"""Ends the waiting for a job whose message has become a dead letter, in a queue whose messages are signed.

A worker that cannot verify a message does not believe the id in it: otherwise anybody could end any job. So the worker
keeps the message, and stores no result. But a process that waits for the job has a secret, too, and may be able to
verify the message of a dead letter. If that is the message of the job, or of a task that the job was to follow, nobody
will execute the job. Dead letters are not signed, so nothing else in one is believed, or told to the waiting caller.
"""

from __future__ import annotations

import itertools
import logging
import time
import uuid
from typing import Any

from huey.api import Result, ResultGroup
from huey.exceptions import ResultTimeout
from huey.registry import Message
from huey.utils import Error

from aquila.errors import ConfigError
from aquila.huey.delivery.dead_letters import TABLE, DeadLetters, identify_message, read_letter
from aquila.huey.state import state_of
from aquila.huey.state.shared_tables import LOWEST

_log = logging.getLogger("aquila.huey")

_FIRST_LOOK, _LONGEST = 1.0, 16.0
"""Seconds of waiting before the first look at the dead letters, and the most between two looks. They double."""

_SHORTEST = 0.001
"""Seconds of the shortest wait. Redis takes a timeout of 0 for none, and would wait for ever."""

_IMPRECISION = 0.1
"""Seconds by which a dead letter may seem older than its job although it is not: what asking for the time may take."""

_OVERLAP = 5.0
"""Seconds by which a dead letter may seem older than one that was stored before it."""

_PAGE = 100
"""Dead letters that are read at once."""


def notice_dead_letters(huey: Any, result: Any) -> Any:
    """Return a handle of the same result, or of the same group of results, that notices dead letters."""
    if type(result) is ResultGroup:
        return ResultGroup([notice_dead_letters(huey, each) for each in result])
    return SignedResult(huey, result.task) if type(result) is Result else result


class SignedResult(Result):  # type: ignore[misc]
    """The result of a job in a queue whose messages are signed. Waiting ends if the job's message is a dead letter.

    ``was_enqueued``: whether this process has just enqueued the job.
    """

    def __init__(self, huey: Any, task: Any, *, was_enqueued: bool = True) -> None:
        super().__init__(huey, task)
        # The same task may be enqueued again, with the same message, when an earlier message is a dead letter already.
        self._made_at = time.monotonic()
        # A random id is used for one job alone. If another process has enqueued that job, earlier letters count, too.
        self._counts_from: float | None = None if was_enqueued or not _is_unique(task.id) else LOWEST
        """The time from which on dead letters count, by the clock of the storage. None before the first look: then from
        when this object was made."""
        self._newest_seen = LOWEST  # The time of the newest letter that was looked at.

    def get_raw_result(
        self,
        blocking: bool = False,
        timeout: float | None = None,
        backoff: float = 1.15,
        max_delay: float = 1.0,
        revoke_on_timeout: bool = False,
        preserve: bool = False,
    ) -> Any:
        """Return the stored result as Huey does, or an ``Error`` for a job whose message no worker could read.

        The parameters are those of Huey. If nothing comes within ``timeout`` seconds, its ``ResultTimeout`` is raised.
        """
        # Huey waits in parts, between which the dead letters are looked at. Only the last part may revoke the task.
        if not blocking:
            return super().get_raw_result(preserve=preserve)
        ends = None if timeout is None else time.monotonic() + timeout
        part = _FIRST_LOOK
        while True:
            left = None if ends is None else max(_SHORTEST, ends - time.monotonic())
            is_last = left is not None and left <= part
            try:
                return super().get_raw_result(
                    True, left if is_last else part, backoff, max_delay, revoke_on_timeout and is_last, preserve
                )
            except ResultTimeout:
                if (letter := self._find_dead_letter()) is not None:
                    return self._make_error(letter)
                if is_last:
                    raise
            part = min(2 * part, _LONGEST)

    def _find_dead_letter(self) -> str | None:
        """Return the id of a letter because of which this job will never end, or None. A failed look finds none."""
        try:
            state = state_of(self.huey)
            if self._counts_from is None:
                # By the clock that dates the letters.
                self._counts_from = state.now() - (time.monotonic() - self._made_at) - _IMPRECISION
            sent = self.task.__dict__.get("_aquila_sent")
            own = None if sent is None else DeadLetters(self.huey).get(identify_message(sent))
            if own is not None and own.at.timestamp() >= self._counts_from:
                return own.id
            since = max(self._counts_from, self._newest_seen - _OVERLAP)
            newest = self._newest_seen
            # The newest first: a whole queue may have become letters.
            pages = state.iterate_pages(TABLE, size=_PAGE, newest_first=True, at_least=since)
            for entry in itertools.chain.from_iterable(pages):
                newest = max(newest, entry.order)
                letter = read_letter(entry)
                if letter.kind == "unreadable" and self.id in _jobs_of(self.huey.serializer, letter.message):
                    return letter.id
            self._newest_seen = newest  # Set last: where reading has failed, the next look begins where this one did.
            return None
        except ConfigError:
            return None  # A storage that is none of Huey's own has no dead letters.
        except Exception:  # noqa: BLE001
            # The look has failed, but the job may well be complete.
            _log.warning("could not look whether the message of job %s is a dead letter", self.id, exc_info=True)
            return None

    def _make_error(self, letter: str) -> Error:
        reason = f"no worker could read the message of this job; `aquila dead-letters show` says why: {letter}"
        return Error({"error": f"TaskError({reason!r})", "retries": 0, "traceback": "", "task_id": self.id})


def _is_unique(id: Any) -> bool:
    """Whether an id was made by Huey or Aquila, and not by a user, who may use it for several jobs."""
    try:
        return bool(str(uuid.UUID(id)) == id)
    except (ValueError, TypeError, AttributeError):
        return False


def _jobs_of(serializer: Any, data: bytes) -> set[Any]:
    """Return the ids of the jobs that a message would bring about. None are found where its signature is not ours."""
    try:
        message = serializer.deserialize(data, "task")
    except Exception:  # noqa: BLE001 -- whatever a serializer raises
        begun = serializer.read_beginning(data)  # It may be of a newer version, and signed all the same.
        return set() if begun is None else {begun[0]}
    ids = set()
    while isinstance(message, Message):
        ids.add(message.id)
        message = message.on_complete
    return ids
