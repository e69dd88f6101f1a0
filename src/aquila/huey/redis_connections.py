"""Refuses connections to Redis that cannot carry messages."""

from __future__ import annotations

from typing import Any

from aquila.errors import ConfigError


def reject_decoded_answers(huey: Any) -> None:
    """Raise ``ConfigError`` for a Huey whose connection to Redis turns all answers into text.

    Its workers could read no message and no result: those are bytes.
    """
    # Only the storages of Redis have a pool of connections with such an option.
    pool = getattr(getattr(huey, "storage", None), "pool", None)
    options = getattr(pool, "connection_kwargs", None)
    if isinstance(options, dict) and options.get("decode_responses"):
        raise ConfigError(
            f"the connection of the Huey {huey.name!r} to Redis has decode_responses=True, and messages are bytes that "
            "cannot be decoded: leave that option out, of the url too, or give the Huey a connection of its own"
        )
