"""Connections of an event loop that are given up at once, whatever is on its way over them."""

from __future__ import annotations

import asyncio
import contextlib


def drop_connection(transport: asyncio.BaseTransport) -> None:
    """Give up the connection of a ``transport``, also where it has ended already."""
    # asyncio does not find that itself where the connection was closed while bytes still waited to be sent: after the
    # last of them it has no loop any more.
    with contextlib.suppress(AttributeError):
        transport.abort()  # type: ignore[attr-defined]
