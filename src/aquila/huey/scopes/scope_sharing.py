"""Shares the request counts and the misses of a scope between processes, through the storage of the Huey."""

from __future__ import annotations

import hashlib
import sys
from typing import TYPE_CHECKING, Any

from aquila.errors import CassetteRequired, MessageRejected, SessionClosed
from aquila.huey.delivery.result_keys import list_result_keys
from aquila.huey.scopes.scope_reference import find_current_scope
from aquila.process_marks import process_mark
from aquila.recording.reporting.described_misses import describe_miss, miss_from

if TYPE_CHECKING:
    from aquila.recording.scope import Scope

_MISS_PREFIX = "aquila.miss."
_COUNTER_PREFIX = "aquila.plays."


class SharedRequestCounts:
    """Counts requests in the storage of a Huey, where all of its workers see the counts.

    So the second of two equal requests gets the second recording, whichever worker sends it. Nobody deletes
    the counters. Their names contain the id of the scope, so no later test reads them.
    """

    def __init__(self, storage: Any, scope_id: str) -> None:
        self._storage = storage
        self._scope_id = scope_id

    def count_request(self, label: str) -> int:
        """Count a request with the key ``label``, and return how many came before it."""
        return int(self._storage.incr(self._counter_key(label))) - 1

    def count_of(self, label: str) -> int:
        """Return how many requests with the key ``label`` were counted."""
        return int(self._storage.incr(self._counter_key(label), 0))

    def _counter_key(self, label: str) -> str:
        return f"{_COUNTER_PREFIX}{self._scope_id}.{hashlib.sha256(label.encode()).hexdigest()[:24]}"


def share_counts(huey: Any, scope: Scope) -> None:
    """Count the requests of a scope together with the other processes that use this Huey, from now on.

    Does nothing where the scope shares its counts already: the first Huey wins.
    """
    if scope.sessions.counts is None:
        scope.sessions.share_counts(SharedRequestCounts(huey.storage, scope.id))


def share_with_workers(huey: Any) -> Scope | None:
    """Share the counts of the scope in force here with workers in other processes. Return the scope, or None."""
    scope = find_current_scope()
    if scope is not None:
        share_counts(huey, scope)
    return scope


def store_misses(huey: Any, task: Any, scope: Scope, known: int) -> None:
    """Put the misses of a task into the result store, from which the owner of its scope collects them.

    ``known`` is how many misses the scope had before the task began.
    """
    for number, miss in enumerate(scope.misses.hear()[known:], start=known):
        key = f"{_MISS_PREFIX}{scope.id}.{task.id}.{process_mark()}.{number}"
        huey.put(key, describe_miss(miss))


def collect_misses(huey: Any, scope: Scope) -> None:
    """Move the misses of workers in other processes from the result store to their scope."""
    keys = list_result_keys(huey, f"{_MISS_PREFIX}{scope.id}.")
    # Where there is a folder for misses, the worker has noted them there before. They must not be reported twice, and
    # only the folder says which conversation is to be recorded anew, so it is read first.
    is_noted = scope.child_messages.folder is not None
    if keys and is_noted:
        scope.misses.hear()
    for key in keys:
        miss = miss_from(_take(huey, key))
        scope.misses.remember(miss, str(miss) if is_noted else None)


def _take(huey: Any, key: str) -> Any:
    try:
        return huey.get(key)
    except MessageRejected:
        return None  # No worker of this queue has written the entry.


def collect_misses_of_current_scope(huey: Any) -> None:
    """Collect the misses for the scope in force here, if there is one: a consumer may run outside of a test."""
    if "aquila.recording.scope" not in sys.modules:
        return
    try:
        scope = find_current_scope()
    except (SessionClosed, CassetteRequired):
        return
    if scope is not None:
        collect_misses(huey, scope)
