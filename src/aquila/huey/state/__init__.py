"""What the workers of a queue share beside it: small tables that every process sees, with atomic changes.

Heartbeats, copies of running tasks, dead letters, limits and the events of jobs stand on it. Begin reading with
``shared_tables``, the interface. ``choosing`` finds the implementation that fits a Huey's storage. Only ``aquila.huey``
imports from here.

``memory_tables``, ``redis_tables`` and ``sql_tables`` are the implementations.
"""

from __future__ import annotations

from aquila.huey.state.choosing import state_of
from aquila.huey.state.shared_tables import Entry, EntryChange, SharedState

__all__ = ["Entry", "EntryChange", "SharedState", "state_of"]
