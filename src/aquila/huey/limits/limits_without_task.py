"""Limits where no task executes, and for requests that are not Aquila's own."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from aquila.engine.calls.request_gate import OutgoingRequest, current_gate, set_gate
from aquila.errors import ConfigError
from aquila.events import Usage
from aquila.huey.limits.providers import check_provider
from aquila.huey.limits.task_gate import GateAdmission, TaskGate
from aquila.huey.tasks.running_task import current_task_or_none
from aquila.recording.network.model_hosts import PROVIDER_HOSTS


@contextlib.contextmanager
def within_limits(huey: Any, *, wait: float | bool = True) -> Iterator[None]:
    """Hold the calls of ``aquila.ask``, ``stream`` and the like in a block to the limits of a Huey, outside of a task.

    ``huey`` is the Huey whose limits apply. ``wait`` is for how many seconds a call waits for its turn; True means as
    long as it takes, and False not at all. A call that would have to wait longer raises ``LimitReached``. Raises
    ``ConfigError`` where ``wait`` is none of these.
    """
    # The gate belongs to this context, and to contexts copied from it, until the end of the block.
    before = current_gate()
    set_gate(TaskGate(huey, None, _seconds_of(wait)))
    try:
        yield
    finally:
        set_gate(before)


class LimitedRequest:
    """A request of another client that is being counted. Call ``spent`` with its tokens and those of the answer.

    Examples:
        >>> from aquila.huey import LimitedRequest, MemoryHuey, limited
        >>> huey = MemoryHuey("jobs", limit="openai: 60/min")
        >>> with limited(huey, "https://api.openai.com/v1/chat/completions") as request:
        ...     isinstance(request, LimitedRequest)    # ask with another client here
        True
    """

    def __init__(self) -> None:
        self._usage: Usage | None = None

    def spent(self, *, input_tokens: int, output_tokens: int = 0) -> None:
        """Report how many tokens the request took. The last report counts; without one the estimate stays counted."""
        total = input_tokens + output_tokens
        self._usage = Usage(input_tokens=input_tokens, output_tokens=output_tokens, total_tokens=total)


@contextlib.contextmanager
def limited(
    huey: Any, provider: str, model: str = "", *, prompt: str = "", tokens: int | None = None, wait: float | bool = True
) -> Iterator[LimitedRequest]:
    """Count a request of any client against the limits of a Huey while a block runs.

    - ``huey``: the Huey whose limits apply.
    - ``provider``: a name as in a limit, a host, or a URL; ``model``: the name of the model.
    - ``prompt``: the text that is sent, from which its tokens are estimated.
    - ``tokens``: how many tokens the answer may have at most, if that is known.
    - ``wait``: seconds to wait for a turn, True for as long as it takes, False for not at all. With True, a request of
      a task waits ``Rescheduling.longest_wait`` seconds in its worker; where its turn comes later the block raises
      ``LimitReached``, and the task is rescheduled.

    Returns a ``LimitedRequest``. Raises ``LimitReached``, ``BudgetExceeded``, and ``ConfigError`` for an unknown
    provider.

    Examples:
        >>> from aquila.huey import MemoryHuey, limited
        >>> huey = MemoryHuey("jobs", limit="openai: 100k tokens/min")
        >>> with limited(huey, "openai", "gpt-5", prompt="Summarise ...", tokens=500) as request:
        ...     answer = ...    # of any client
        ...     request.spent(input_tokens=812, output_tokens=97)
    """
    current = current_task_or_none()
    task = current.task if current is not None and current.huey is huey else None
    gate = TaskGate(huey, task, None if task is not None and wait is True else _seconds_of(wait))
    name = check_provider(urlsplit(provider).netloc.rpartition("@")[2] if "://" in provider else provider)
    # Rules compare hosts. The first pattern of a provider's hosts stands for the provider, because it fits itself.
    host = PROVIDER_HOSTS.get(name, (name,))[0]
    request = OutgoingRequest("", host, model, "live", "", {"prompt": prompt}, tokens)
    admission, counted = _wait_for(gate, request), LimitedRequest()
    try:
        yield counted
    except BaseException as error:
        admission.settle(counted._usage, error)
        raise
    admission.settle(counted._usage, None)


def _wait_for(gate: TaskGate, request: OutgoingRequest) -> GateAdmission:
    waited = 0.0
    while isinstance(found := gate.admit(request, waited), float):
        time.sleep(found)
        waited += found
    return found


def _seconds_of(wait: float | bool) -> float:
    if isinstance(wait, bool):
        return math.inf if wait else 0.0
    if not isinstance(wait, (int, float)) or not wait >= 0:
        raise ConfigError(f"wait= is a number of seconds from 0, True or False, not {wait!r}")
    return float(wait)
