"""Ends the waiting for a job whose message has become a dead letter, in a queue whose messages are signed.

A worker that cannot verify a message does not believe the id in it: otherwise anybody could end any job. So it keeps
the message, and stores no result. But the process that enqueued the job knows its message. If that has become a dead
letter since, nobody will execute the job. Dead letters are not signed, so nothing that one says is told to the waiter.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from huey.api import Result
from huey.exceptions import ResultTimeout
from huey.utils import Error

from aquila.errors import ConfigError
from aquila.huey.delivery.dead_letters import DeadLetters, identify_message
from aquila.huey.state import state_of

_log = logging.getLogger("aquila.huey")

_FIRST_LOOK, _LONGEST = 1.0, 16.0
"""Seconds of waiting before the first look at the dead letters, and the most between two looks. They double."""

_SHORTEST = 0.001
"""Seconds of the shortest wait. Redis takes a timeout of 0 for none, and would wait for ever."""

_IMPRECISION = 0.1
"""Seconds by which a dead letter may seem older than its job although it is not: what asking for the time may take."""


class SignedResult(Result):  # type: ignore[misc]
    """The result of a job whose message was signed by this process. Waiting ends if the message is a dead letter."""

    def __init__(self, huey: Any, task: Any) -> None:
        super().__init__(huey, task)
        # The same task may be enqueued again, with the same message, when an earlier message is a dead letter already.
        self._enqueued_at = time.monotonic()

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
        ends, part = None if timeout is None else time.monotonic() + timeout, _FIRST_LOOK
        while True:
            left = None if ends is None else max(_SHORTEST, ends - time.monotonic())
            is_last = left is not None and left <= part
            try:
                return super().get_raw_result(
                    True, left if is_last else part, backoff, max_delay, revoke_on_timeout and is_last, preserve
                )
            except ResultTimeout:
                if self._is_dead_letter():
                    return self._make_error()
                if is_last:
                    raise
            part = min(2 * part, _LONGEST)

    def _is_dead_letter(self) -> bool:
        """Return whether the message has become a dead letter since it was enqueued. A failed look is a no."""
        try:
            letter = DeadLetters(self.huey).get(identify_message(self.task._aquila_sent))
            if letter is None:
                return False
            # By the clock that dates the letters.
            enqueued = state_of(self.huey).now() - (time.monotonic() - self._enqueued_at)
            return letter.at.timestamp() >= enqueued - _IMPRECISION
        except ConfigError:
            return False  # A storage of somebody else's has no dead letters.
        except Exception:  # noqa: BLE001
            # Whatever keeps this look from its answer, the job itself may well be done.
            _log.warning("could not look whether the message of job %s is a dead letter", self.id, exc_info=True)
            return False

    def _make_error(self) -> Error:
        found = identify_message(self.task._aquila_sent)
        reason = f"no worker could read the message of this job; `aquila dead-letters show` says why: {found}"
        return Error({"error": f"TaskError({reason!r})", "retries": 0, "traceback": "", "task_id": self.id})
