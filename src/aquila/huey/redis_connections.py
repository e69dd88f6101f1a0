"""Refuses connections to Redis that cannot carry messages, and servers that cannot keep running tasks."""

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


def reject_cluster(huey: Any) -> None:
    """Raise ``ConfigError`` for a Huey with ``keep_running`` whose Redis is a cluster.

    Its workers could take no task: the step that takes one and keeps its copy needs both keys on one server. A server
    that does not answer, or does not tell, is not refused.
    """
    storage: Any = getattr(huey, "storage", None)
    if not getattr(huey, "keep_running", False) or not hasattr(storage, "pool"):
        return
    try:
        is_cluster = storage.conn.info("cluster").get("cluster_enabled")
    except Exception:  # noqa: BLE001 -- whatever a client raises; the workers ask again, and say it
        return
    if is_cluster:
        raise ConfigError(
            f"the Redis of the Huey {huey.name!r} is a cluster, which cannot keep running tasks: give the queue a "
            "Redis without cluster mode (Sentinel may watch it), or leave out keep_running=True"
        )
