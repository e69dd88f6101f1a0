"""A task whose provider asks it to come back later leaves its worker until then.

A 429, 529 or 503 that names a delay would otherwise hold a worker for as long, or cost the task one of its retries.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from huey.api import Task
from huey.exceptions import RetryTask

from aquila.engine.calls.retry import TOO_BUSY
from aquila.errors import BudgetExceeded, ConfigError, LimitReached, ProviderError, WaitedTooLong
from aquila.huey.error_texts import UNCUT, write_safely
from aquila.huey.scopes.clock_of_test import find_skipped_moment
from aquila.transports.requested_delay import read_providers_delay

# Of the system: a test that calls `random.seed()` must get the same numbers whether or not a task was rescheduled.
# Workers that are forked from one process would inherit another generator, and all choose the same delays.
_jitter = random.SystemRandom()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescheduling:
    """When a task is rescheduled because of a provider or a limit, and how often. All times are in seconds.

    - ``longest_wait``: for how long a call waits in its worker. If it is asked to wait longer, its task is rescheduled.
    - ``longest_delay``: the longest delay after which a task comes back, whatever the provider asks for.
    - ``jitter``: up to this fraction of the delay, but at least up to so many seconds, is added to it at random. So
      tasks that were refused together come back one by one.
    - ``most``: how often a task may be rescheduled because its provider asks for it.
    - ``within``: for how long a task may be rescheduled, from the first time on and for whatever reason.

    A task that would exceed ``most`` or ``within`` fails for good with ``WaitedTooLong``. Raises ``ConfigError`` for
    values that are no numbers from 0.
    """

    longest_wait: float = 5.0
    longest_delay: float = 3600.0
    jitter: float = 0.1
    most: int = 100
    within: float = 86_400.0

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
                raise ConfigError(f"Rescheduling({each.name}=...) must be a number from 0, not {value!r}")
        if self.most != int(self.most):
            raise ConfigError(f"Rescheduling(most=...) must be a whole number, not {self.most!r}")


DEFAULT_RESCHEDULING = Rescheduling()


def check_rescheduling(given: object) -> Rescheduling | None:
    """Return the value of ``rescheduling=``. Raises ``ConfigError`` for a value of another type."""
    # Checked where the Huey is made. Otherwise a worker would meet the mistake, when a provider has no room.
    if not isinstance(given, Rescheduling | None):
        raise ConfigError(f"rescheduling= is a Rescheduling, or None to switch it off, not {given!r}")
    return given


class TaskRescheduled(RetryTask):  # type: ignore[misc]
    """Raised in a worker to make Huey schedule a task for later. It costs none of the task's retries.

    ``reason`` says why the task is rescheduled, and ``seconds`` is the delay.

    Examples:
        >>> from aquila.huey import MemoryHuey, TaskRescheduled
        >>> from aquila.huey.testing import perform_job
        >>> from aquila.testing import use_script
        >>> huey = MemoryHuey("jobs")
        >>> @huey.task()
        ... def answer(question):
        ...     return aquila.ask(question).text
        >>> with use_script() as script:
        ...     _ = script.error(429, retry_after=60)
        ...     run = perform_job(answer, "How do eagles fly?")
        >>> run.state, isinstance(run.exception, TaskRescheduled), run.retry.delay >= 60
        ('retry', True, True)
    """

    def __init__(self, reason: str, seconds: float) -> None:
        super().__init__(f"{reason}. The task comes back in {seconds:.1f} s", None, seconds)
        self.reason = reason
        self.seconds = seconds


def reschedule_after(huey: Any, task: Task, error: BaseException) -> None:
    """Raise ``TaskRescheduled`` if a task is to come back later after ``error``, which its code has raised.

    Raises ``WaitedTooLong`` if the task has been rescheduled too often, or for too long. Returns if ``error`` is an
    ordinary failure.
    """
    if isinstance(error, BudgetExceeded):
        task.retries = 0  # A retry would have no more room.
        return
    rules: Rescheduling | None = huey.rescheduling
    seconds = delay_until_return(error)
    # In immediate mode there is no worker to leave, and nobody who would take the task up again.
    if rules is None or seconds is None or huey.immediate:
        return
    raise _leave_worker(task, rules, error, seconds) from error


def delay_until_return(error: BaseException) -> float | None:
    """Return after how many seconds a task that raised ``error`` is to come back; None for an ordinary failure.

    For an exception group every error must name a delay; the longest counts.
    """
    if isinstance(error, BaseExceptionGroup):
        delays = [delay_until_return(each) for each in error.exceptions]
        named = [delay for delay in delays if delay is not None]
        return max(named) if len(named) == len(delays) else None
    status, seconds = read_refusal(error)
    return seconds if status is None or status in TOO_BUSY else None


def read_refusal(error: BaseException | None) -> tuple[int | None, float | None]:
    """Return the status with which a provider answered, and after how many seconds it asks to come back, if known.

    Also understands errors of other clients that hold the answer: those of openai, anthropic, httpx, requests and
    botocore.
    """
    if isinstance(error, ProviderError):
        return error.status, error.retry_after
    try:
        status, headers = _read_answer(getattr(error, "response", None))
        if type(status) is not int or not isinstance(headers, Mapping):
            return None, None
        fields = {str(name).lower(): str(value) for name, value in headers.items()}
        return status, read_providers_delay(fields, status)
    except Exception:  # noqa: BLE001 -- any library's exception: its attributes of these names may be anything
        return None, None


def _read_answer(answer: Any) -> tuple[Any, Any]:
    """Return the status and the header fields of the answer that an error of another client holds."""
    if not isinstance(answer, Mapping):
        return getattr(answer, "status_code", None), getattr(answer, "headers", None)
    about = answer.get("ResponseMetadata")
    return (about.get("HTTPStatusCode"), about.get("HTTPHeaders")) if isinstance(about, Mapping) else (None, None)


def _leave_worker(task: Task, rules: Rescheduling, error: BaseException, seconds: float) -> Exception:
    """Return the exception that ends the execution: ``TaskRescheduled``, or ``WaitedTooLong`` beyond a bound."""
    # The time of day, not a monotonic clock: the first time travels in the task's message, perhaps to another machine.
    now = max(time.time(), find_skipped_moment())
    delay, reason = seconds, write_safely(lambda: str(error), UNCUT)
    times, since, _ = getattr(task, "_aquila_waits", (0, now, False))
    has_turn = isinstance(error, LimitReached)
    if not has_turn:  # Turns are apart already, and a request that misses its turn may have to wait for the next.
        delay = min(delay, rules.longest_delay)
        delay += _jitter.uniform(0, max(rules.jitter * delay, rules.jitter))
    is_too_often = not has_turn and times >= rules.most
    if is_too_often or now + delay - since > rules.within:
        task.retries = 0  # Otherwise Huey would retry, and the task would be rescheduled for ever.
        bound = f"most={rules.most}" if is_too_often else f"within={rules.within:g}"
        return WaitedTooLong(
            f"the task {task.name} ({task.id}) was rescheduled {times} times in {now - since:.0f} s, and is to wait "
            f"{delay:.0f} s more: {reason}. Send less at once, or allow more: Rescheduling({bound})"
        )
    task._aquila_waits = (times + (not has_turn), since, has_turn)
    return TaskRescheduled(reason, delay)


def has_waited(task: Task | None) -> bool:
    """Whether a task was rescheduled before, and has come back when its delay was over."""
    return getattr(task, "_aquila_waits", None) is not None


def waits_to_send(task: Task) -> dict[str, Any]:
    """Return the field of a task's message that holds how often it was rescheduled; nothing if it never was."""
    waits = getattr(task, "_aquila_waits", None)
    return {} if waits is None else {"waits": list(waits)}


def read_waits(task: Task, found: Any) -> bool:
    """Set on a task how often it was rescheduled, from the field of its message.

    ``found`` is the value of the field, None if there is none. Returns whether the value is well-formed.
    """
    if found is None:
        return True
    if type(found) is not list or [type(each) for each in found] != [int, float, bool]:
        return False
    if found[0] < 0 or not math.isfinite(found[1]):
        return False
    task._aquila_waits = (found[0], found[1], found[2])
    return True
