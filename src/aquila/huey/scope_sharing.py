"""What processes that take part in one scope tell each other through the storage of the Huey: counts and misses."""

from __future__ import annotations

import hashlib
import os
import sys
from typing import TYPE_CHECKING, Any

from aquila.errors import CassetteRequired, MessageRejected, SessionClosed
from aquila.huey.delivery.result_keys import list_result_keys
from aquila.huey.scope_reference import find_current_scope
from aquila.recording.reporting.child_misses import ChildMisses, describe_miss, miss_from

if TYPE_CHECKING:
    from aquila.recording.scope import Scope

_MISS_PREFIX = "aquila.miss."
_COUNTER_PREFIX = "aquila.plays."


class SharedRequestCounts:
    """Counts requests in the storage of a Huey, which all its workers see."""

    def __init__(self, storage: Any, scope_id: str) -> None:
        self._storage = storage
        self._scope_id = scope_id

    def count_request(self, label: str) -> int:
        """Count a request with this key and return how many came before it."""
        return int(self._storage.incr(self._counter_key(label))) - 1

    def count_of(self, label: str) -> int:
        """Return how many requests with this key were counted."""
        return int(self._storage.incr(self._counter_key(label), 0))

    def _counter_key(self, label: str) -> str:
        return f"{_COUNTER_PREFIX}{self._scope_id}.{hashlib.sha256(label.encode()).hexdigest()[:24]}"


def share_counts(huey: Any, scope: Scope) -> None:
    """Count the requests of a scope together with the other processes that use this Huey, from now on."""
    if scope.sessions.counts is None:
        scope.sessions.share_counts(SharedRequestCounts(huey.storage, scope.id))


def share_with_workers(huey: Any) -> Scope | None:
    """Share the counts of the scope in force here with workers in other processes. Returns that scope, or None."""
    scope = find_current_scope()
    if scope is not None:
        share_counts(huey, scope)
    return scope


def store_misses(huey: Any, task: Any, scope: Scope, known: int) -> None:
    """Put the misses of a task into the result store, where the owner of its scope collects them.

    ``known`` is how many misses the scope had before the task.
    """
    for number, miss in enumerate(scope.misses[known:], start=known):
        key = f"{_MISS_PREFIX}{scope.id}.{task.id}.{os.getpid()}.{number}"
        huey.put(key, describe_miss(miss))


def collect_misses(huey: Any, scope: Scope) -> None:
    """Move the misses of workers in other processes from the result store to their scope."""
    for key in list_result_keys(huey, f"{_MISS_PREFIX}{scope.id}."):
        miss = miss_from(_take(huey, key))
        # A worker that has the folder for misses has told of it there.
        has_told = scope.run.state_of(ChildMisses).folder is not None
        scope.remember_miss(miss, str(miss) if has_told else None)


def _take(huey: Any, key: str) -> Any:
    try:
        return huey.get(key)
    except MessageRejected:
        huey.delete(key)
        return None


def collect_misses_of_current_scope(huey: Any) -> None:
    """Collect the misses for the scope in force here, if there is one: a consumer may run that no test started."""
    if "aquila.recording.scope" not in sys.modules:
        return
    try:
        scope = find_current_scope()
    except (SessionClosed, CassetteRequired):
        return
    if scope is not None:
        collect_misses(huey, scope)
