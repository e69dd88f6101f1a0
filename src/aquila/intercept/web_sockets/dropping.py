"""Drops connections of an event loop at once."""

from __future__ import annotations

import asyncio
import contextlib


def drop_connection(transport: asyncio.BaseTransport) -> None:
    """Drop the connection of a ``transport`` at once, without sending the rest. It may have ended already."""
    # If the connection was closed while bytes waited to be sent, the transport has no loop after it has sent them, and
    # `abort` fails.
    with contextlib.suppress(AttributeError):
        transport.abort()  # type: ignore[attr-defined]
