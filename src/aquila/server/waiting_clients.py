"""Ends the work on an answer whose client has left before the answer begins."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class ClientLeft(Exception):
    """The client has left before it was answered."""


async def while_client_waits(answering: Coroutine[Any, Any, T], leaving: Coroutine[Any, Any, object]) -> T:
    """Return what ``answering`` returns. It is cancelled where ``leaving``, which waits for that, ends first.

    Raises ``ClientLeft`` then, once ``answering`` has ended too.
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
