"""Waits for messages in conversations that a fault may silence. The client's time limit then ends the wait at once.

Only for conversations that ``may_fall_silent``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aquila.intercept.web_sockets.replayed import ReplayedConversation
from aquila.recording.replayed_time_limits import current_limits, strike_shortest_limit

_STEP = 0.05
"""The seconds between two checks whether a message can still come."""


def receive_within(
    conversation: ReplayedConversation, receive: Callable[[float | None], Any], seconds: float | None
) -> Any:
    """Receive a message within ``seconds``; None is no limit.

    ``receive`` takes a limit in seconds, and raises ``TimeoutError`` after it.
    """
    waited = 0.0
    while True:
        step = _STEP if seconds is None else min(_STEP, seconds - waited)
        try:
            return receive(max(0.0, step))
        except TimeoutError:
            waited += step
            if (seconds is not None and waited >= seconds) or _ends_here(conversation, seconds):
                raise


async def receive_within_async(
    conversation: ReplayedConversation, receive: Callable[[], Awaitable[Any]], seconds: float | None
) -> Any:
    """Receive a message. ``seconds`` is the limit that ``receive`` applies itself; None is no limit."""
    task = asyncio.ensure_future(receive())
    try:
        while not task.done():
            await asyncio.wait((task,), timeout=_STEP)
            if not task.done() and _ends_here(conversation, seconds):
                raise TimeoutError
        return await task
    finally:
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def _ends_here(conversation: ReplayedConversation, seconds: float | None) -> bool:
    """Whether the client's limit ends a wait. If a shorter limit of Aquila's own ends it, that error is raised."""
    if not conversation.is_mute:
        return False
    strike_shortest_limit(current_limits(), seconds)
    return seconds is not None
