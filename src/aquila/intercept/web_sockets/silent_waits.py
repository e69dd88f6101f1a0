"""Waits for messages that a fault keeps from coming. The limit that would end such a wait strikes at once.

For conversations that ``may_fall_silent``. Readers of others, which are nearly all, do not come here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aquila.intercept.web_sockets.replayed import ReplayedConversation
from aquila.recording.replayed_time_limits import current_limits, strike_shortest_limit

_STEP = 0.05
"""How many seconds pass between two checks whether a message can still come."""


def receive_within(
    conversation: ReplayedConversation, receive: Callable[[float | None], Any], seconds: float | None
) -> Any:
    """Receive a message within so many seconds, None for any. ``receive`` does so, or raises ``TimeoutError``."""
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
    """Receive a message. ``seconds`` is within what ``receive`` does it, None for any time."""
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
    """Whether the client's limit ends a wait. Raises the error of one of Aquila's own that ends it before."""
    if not conversation.is_mute:
        return False
    strike_shortest_limit(current_limits(), seconds)
    return seconds is not None
