"""Pauses that a provider asked one worker for, and that all workers of the queue observe.

A response 429 that names a delay is about the account, not about one request. Until the delay is over, no worker of the
queue sends a request for the same model with the same API key. Afterwards the requests that waited come back one by
one, a quarter of a second apart.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from aquila.engine.calls.request_gate import OutgoingRequest, gate_owner
from aquila.huey.error_texts import UNCUT, shorten_text, write_safely
from aquila.huey.state import SharedState
from aquila.lazy_imports import lazy_modules

if TYPE_CHECKING:
    from aquila.huey.delivery import burying
else:
    lazy_modules(globals(), "aquila.huey.delivery: burying")

TABLE = "pauses"
_SHORTEST = 1.0  # Seconds. A shorter pause is over before other workers have read of it.
_PACE = 0.25  # Seconds between two requests that come back after a pause.
_SLACK = 5.0  # Seconds by which the clocks of workers may differ, as in ``counting``.
_LONGEST_ANSWER = 500  # Characters.
_KEPT_AFTER_END = 3600  # Seconds for which an entry outlives its pause: requests that waited still read their turn.


def note_pause(
    state: SharedState,
    request: OutgoingRequest,
    seconds: float,
    moment: float = 0.0,
    error: BaseException | None = None,
) -> None:
    """Tell all workers that the provider of ``request`` asks for a pause of so many seconds.

    The pause is counted from now, or from ``moment`` (seconds since the epoch) where a test has put its clock forward.
    ``error`` says what the provider has answered.
    """
    if seconds < _SHORTEST:
        return
    now = state.now()
    ends = max(now, moment) + seconds
    answer = "" if error is None else _describe(error)

    def change(data: bytes | None) -> bytes:
        until, following, _ = _read(data, now)
        return json.dumps([max(until, ends), max(following, ends), now, answer]).encode()

    state.delete_below(TABLE, now)
    state.update(TABLE, _key_of(request), change, order=ends + _KEPT_AFTER_END)


def _describe(error: BaseException) -> str:
    owner = gate_owner.get()
    text = write_safely(lambda: str(error), UNCUT)
    return shorten_text(burying.redact_safely(text, None if owner is None else owner.task), _LONGEST_ANSWER)


def find_pause(state: SharedState, request: OutgoingRequest, moment: float = 0.0) -> tuple[float, str]:
    """Return for how many seconds a request waits because of a pause, and what the provider answered when it asked.

    If the request need not wait, these are 0 and an empty text. The text is also empty if the answer is not known.
    ``moment`` is the time for which the task of the request is scheduled, in seconds since the epoch. A test executes
    the task before that time, and the wait is counted from that time. 0 means from now.
    """
    # The clock, which may be a round trip to the storage, is asked only where there was a pause.
    data = state.get(TABLE, _key_of(request))
    if data is None:
        return 0.0, ""
    clock, turn, answer = state.now(), 0.0, ""
    now = max(clock, moment)
    if now >= _read(data, clock)[0]:
        return 0.0, ""

    def change(data: bytes | None) -> bytes:
        nonlocal turn, answer
        until, following, answer = _read(data, clock)
        turn = max(until, following, now)
        return json.dumps([until, turn + _PACE, clock, answer]).encode()

    state.update(TABLE, _key_of(request), change)
    return turn - now, answer


def _key_of(request: OutgoingRequest) -> str:
    return f"{request.host}|{request.model}|{request.account}"


def _read(data: bytes | None, now: float) -> tuple[float, float, str]:
    """Return until when a pause lasts, when the next request may come back, and what the provider has answered.

    Both times are in seconds since the epoch. The third stored number is when the entry was written. If that is in the
    future, somebody has put the clock back, and both times are moved back by as much. Otherwise the pause would last
    until the clock shows the old time again.
    """
    try:
        until, following, written, answer = json.loads(data or b'[0.0, 0.0, 0.0, ""]')
    except (ValueError, TypeError):  # A later version has written it.
        return 0.0, 0.0, ""
    back = written - now if written - now > _SLACK else 0.0
    return until - back, following - back, answer
