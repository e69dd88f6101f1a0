"""For ``aquila serve``: ends the work on an answer if its client leaves before the answer begins."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class ClientLeft(Exception):
    """The client has left before it was answered."""


async def while_client_waits(answering: Coroutine[Any, Any, T], leaving: Coroutine[Any, Any, object]) -> T:
    """Return the result of ``answering``. ``leaving`` ends when the client leaves.

    If ``leaving`` ends first, ``answering`` is cancelled, and ``ClientLeft`` is raised once it has ended.
    """
    task, left = asyncio.ensure_future(answering), asyncio.ensure_future(leaving)
    try:
        await asyncio.wait((task, left), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientLeft
    finally:
        for each in (task, left):
            each.cancel()
        await asyncio.gather(task, left, return_exceptions=True)
