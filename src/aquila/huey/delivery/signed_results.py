"""Ends the waiting for a job whose message has become a dead letter, in a queue whose messages are signed.

A worker that cannot verify a message does not believe the id in it: otherwise anybody could end any job. So it keeps
the message, and stores no result. But the process that enqueued the job knows its message, and no other message has the
same identity. If that is among the dead letters, nobody will execute the job.
"""

from __future__ import annotations

import time
from typing import Any

from huey.api import Result
from huey.exceptions import ResultTimeout
from huey.utils import Error

from aquila.huey.delivery.dead_letters import DeadLetters, identify_message

_FIRST_LOOK, _LONGEST = 1.0, 16.0
"""Seconds of waiting before the first look at the dead letters, and the most between two looks. They double."""


class SignedResult(Result):  # type: ignore[misc]
    """The result of a job whose message was signed by this process. Waiting ends if the message is a dead letter."""

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
            left = None if ends is None else max(0.0, ends - time.monotonic())
            is_last = left is not None and left <= part
            try:
                return super().get_raw_result(
                    True, left if is_last else part, backoff, max_delay, revoke_on_timeout and is_last, preserve
                )
            except ResultTimeout:
                if (error := self._find_error()) is not None:
                    return error
                if is_last:
                    raise
            part = min(2 * part, _LONGEST)

    def _find_error(self) -> Error | None:
        letter = DeadLetters(self.huey).get(identify_message(self.task._aquila_sent))
        if letter is None:
            return None
        reason = f"TaskError({letter.reason!r})"
        return Error({"error": reason, "retries": 0, "traceback": "", "task_id": self.id})
