"""The shared state of a queue: small tables that all of its processes see, with atomic changes.

It keeps heartbeats, dead letters, limits and the events of jobs. It also keeps the copies of running tasks, except on
Redis, where they have a list of their own (``delivery.redis_copies``).

Begin reading with ``shared_tables``, the interface. ``memory_tables``, ``redis_tables`` and ``sql_tables`` are the
implementations, and ``choosing`` chooses the one for a Huey's storage.

Imported by ``instances``, ``delivery``, ``limits``, ``live`` and ``telemetry``.
"""

from __future__ import annotations

from aquila.huey.state.choosing import state_of
from aquila.huey.state.shared_tables import Entry, EntryChange, SharedState

__all__ = ["Entry", "EntryChange", "SharedState", "state_of"]
