"""The shared state of a queue: small tables that all of its processes see, with atomic changes.

Heartbeats, dead letters, limits and the events of jobs are kept in it, and except on Redis the copies of running
tasks, which have a list of their own there (``delivery.redis_copies``). Begin reading with ``shared_tables``, the
interface. ``choosing`` chooses the implementation for a Huey's storage.

Imported by ``instances``, ``delivery``, ``limits``, ``live`` and ``telemetry``.

``memory_tables``, ``redis_tables`` and ``sql_tables`` are the implementations.
"""

from __future__ import annotations

from aquila.huey.state.choosing import state_of
from aquila.huey.state.shared_tables import Entry, EntryChange, SharedState

__all__ = ["Entry", "EntryChange", "SharedState", "state_of"]
