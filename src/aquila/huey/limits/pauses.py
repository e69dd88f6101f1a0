"""Pauses that a provider asked one worker for, kept by all.

A 429 that names a delay is about the account, not about one request. Until then no worker of the queue asks for this
model with this key; afterwards those that waited come back one by one, beside those who ask only then.
"""

from __future__ import annotations

import json
import math
from typing import Any

from aquila.engine.calls.request_gate import OutgoingRequest
from aquila.huey.state import SharedState

TABLE = "pauses"
_SHORTEST = 1.0  # seconds of a pause that is worth telling others
_PACE = 0.25  # seconds between two who come back
_SLACK = 5.0  # seconds by which the clocks of those who keep them may differ


def note_pause(state: SharedState, request: OutgoingRequest, seconds: float, moment: float = 0.0) -> None:
    """Let all workers know that a provider asks for a pause.

    It is counted from now, or from a later ``moment`` that a test has put its clock forward to.
    """
    if seconds < _SHORTEST:
        return
    now = state.now()
    ends = max(now, moment) + seconds

    def change(data: bytes | None) -> bytes:
        until, following = _read(data, now)
        return json.dumps([max(until, ends), max(following, ends), now]).encode()

    state.delete_below(TABLE, now)
    state.update(TABLE, _key_of(request), change, order=ends + 3600)


def find_delay(state: SharedState, request: OutgoingRequest, moment: float = 0.0) -> float:
    """Return for how many seconds a request is to wait, because of a pause: until its end, one after the other.

    0 if it need not. The clock is asked only where there was a pause. A test executes a task before the ``moment`` that
    this is scheduled for: then it waits from there.
    """
    data = state.get(TABLE, _key_of(request))
    if data is None:
        return 0.0
    clock, turn = state.now(), 0.0
    now = max(clock, moment)
    if now >= _read(data, clock)[0]:
        return 0.0

    def change(data: bytes | None) -> bytes:
        nonlocal turn
        until, following = _read(data, clock)
        turn = max(until, following, now)
        return json.dumps([until, turn + _PACE, clock]).encode()

    state.update(TABLE, _key_of(request), change)
    return turn - now


def _key_of(request: OutgoingRequest) -> str:
    return f"{request.host}|{request.model}|{request.account}"


def _read(data: bytes | None, now: float) -> tuple[float, float]:
    """Return until when a pause lasts, and when the next may come back. Anybody may have written it.

    It was written at a third moment: where the clock was put back since, both are earlier by as much, and the pause
    does not last until it is as late again. What comes after these is for versions to come.
    """
    try:
        found: Any = json.loads(data or b"[0, 0, 0]")
        until, following, written = (float(found[place]) for place in range(3))
    except (ValueError, TypeError, LookupError, RecursionError, OverflowError):
        return 0.0, 0.0
    if not all(map(math.isfinite, (until, following, written))):
        return 0.0, 0.0
    back = written - now if written - now > _SLACK else 0.0
    return until - back, following - back
