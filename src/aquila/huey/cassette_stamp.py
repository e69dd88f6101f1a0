"""The stamp that a task carries over the wire: whose cassette its requests are answered from.

A reserved keyword argument of the message holds it: an id, not a path, so that a worker on another machine uses its own
cassette folder. Context variables and the environment cannot do this: a worker thread sees the value of whatever test
runs when the task does, a forked worker the one at the fork.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import secrets
import sys
import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from aquila import config
from aquila.errors import CassetteMiss, CassetteRequired, MessageRejected, PlayedOut, SessionClosed
from aquila.recording import runtime

if TYPE_CHECKING:
    from aquila.recording.scope import Scope

KEY = "__aquila__"
"""The keyword argument. A worker without Aquila fails on it with a TypeError instead of answering from anywhere."""

# What a message may decide. Not what reaches further than a cassette: hosts, folders, keys, code.
_OPTIONS = ("record", "match_on", "ignore", "repeat", "record_errors", "replay_timing")
_TRANSPORTS = ("replay", "record", "live", "local")
_MAX_JOINED_SCOPES = 16  # Scopes of other processes that a worker keeps open.
_MISS_PREFIX = "aquila.miss."
_COUNTER_PREFIX = "aquila.plays."

_process_token, _process_id = secrets.token_hex(8), os.getpid()  # Tell this process from others; a fork has its own id.
_MALFORMED = f"a task whose stamp ({KEY}) is malformed"
_NOT_RUN = object()
_ABSENT = object()
_stamps: WeakKeyDictionary[Scope, tuple[Any, str | None, str]] = WeakKeyDictionary()
_joined: OrderedDict[str, Scope] = OrderedDict()
_lock = threading.Lock()


def stamp_of_current_scope() -> str | None:
    """The stamp of the scope in force here, or None."""
    if "aquila.recording.scope" not in sys.modules and runtime.opener is None:
        return None  # No scope can be open, and a producer in production pays for no more than this.
    from aquila.recording import scope as scopes

    try:
        scope = scopes.current_scope()
    except (SessionClosed, CassetteRequired) as error:
        return json.dumps({"refused": str(error)})
    return _stamp_of(scope) if scope is not None else None


def _stamp_of(scope: Scope) -> str:
    if (reason := getattr(scope, "refused", None)) is not None:
        return json.dumps({"refused": reason})
    settings = scope.settings
    known = _stamps.get(scope)
    if known is not None and known[0] is settings and known[1] == scope.default_cassette:
        return known[2]
    stamp = scope.make_reference()
    options = {name: value for name, value in stamp.options.items() if name in _OPTIONS}
    if stamp.options.get("transport") in _TRANSPORTS:
        options["transport"] = stamp.options["transport"]
    if options.get("transport") != "record":
        options.pop("record", None)
    parts = {
        "scope": stamp.scope,
        "name": stamp.name,
        "default": stamp.default_cassette,
        "options": options,
        "from": _process_token,
    }
    text = json.dumps(parts, separators=(",", ":"))  # It is in every message.
    _stamps[scope] = settings, scope.default_cassette, text
    return text


@functools.lru_cache(maxsize=64)
def parse_stamp(stamp: str) -> Mapping[str, Any]:
    """The parts of a stamp. Raises ``MessageRejected`` for one that is malformed."""
    try:
        parts = json.loads(stamp)
    except (ValueError, RecursionError):
        parts = None
    if isinstance(parts, dict) and isinstance(parts.get("refused"), str):
        return parts
    if (
        not isinstance(parts, dict)
        or not all(isinstance(parts.get(name), str) for name in ("scope", "name", "from"))
        or not isinstance(parts.get("default"), str | None)
        or not isinstance(parts.get("options"), dict)
    ):
        raise MessageRejected(_MALFORMED)
    return parts


def fields_to_send(task: Any) -> Any:
    """What a task takes along on the wire: its stamp, together with its numbers where there are any, or None."""
    stamp = vars(task).get("_aquila_stamp", _ABSENT)
    if stamp is _ABSENT:  # It did not come over the wire, with or without one.
        stamp = stamp_of_current_scope()
    attempt, deliveries = getattr(task, "_aquila_attempt", 1), getattr(task, "_aquila_deliveries", 0)
    if attempt > 1 or deliveries:
        return {"stamp": stamp, "attempt": attempt, "deliveries": deliveries}
    return stamp


def attach_fields(task: Any, carried: Any) -> None:
    """Give a task what came over the wire with it. Raises ``MessageRejected`` for what is malformed."""
    if isinstance(carried, dict):
        for name in ("attempt", "deliveries"):
            number = carried.get(name)
            if len(carried) != 3 or type(number) is not int or number < 0:
                raise MessageRejected(_MALFORMED)
            setattr(task, f"_aquila_{name}", number)
        carried = carried.get("stamp")
    if carried is not None:
        if not isinstance(carried, str):
            raise MessageRejected(_MALFORMED)
        parse_stamp(carried)
    task._aquila_stamp = carried


def enter_task_scope(huey: Any, task: Any) -> tuple[Scope, int] | None:
    """Put the scope of a task's stamp in force in this context, the task's own. Returns what ``leave`` wants."""
    stamp = task._aquila_stamp
    scope = _scope_without_stamp(task) if stamp is None else _scope_for(huey, task, parse_stamp(stamp))
    if scope is None:
        return None
    from aquila.recording import scope as scopes

    scopes.bind_scope(scope)
    return scope, len(scope.misses)


def leave_task_scope(huey: Any, task: Any, scope: Scope, known: int) -> None:
    """End what ``enter`` began. ``known`` is how many misses the scope had then."""
    if not scope.is_owner:
        _store_misses(huey, task, scope, known)
    elif scope.kind == "task":
        scope.close(passed=getattr(task, "_aquila_error", _NOT_RUN) is None)


def _scope_for(huey: Any, task: Any, stamp: Mapping[str, Any]) -> Scope:
    from aquila.recording import scope as scopes

    if "refused" in stamp:
        return make_refusing_scope(task, stamp["refused"])
    found = scopes.find_scope(stamp["scope"])
    if found is None and stamp["from"] == _process_token and os.getpid() == _process_id:
        return make_refusing_scope(
            task,
            f"{stamp['name'] or 'what'} enqueued it and has ended: let the test drain the queue, or end its consumer, "
            "before it returns",
        )
    scope = _share_counts(huey, found) if found is not None else _join_scope(huey, stamp)
    if not scope.is_owner:
        scope.default_cassette = stamp["default"]  # A test may take its cassette after it has enqueued a task.
    return scope


def _scope_without_stamp(task: Any) -> Scope | None:
    if config.current_settings().transport not in ("replay", "record"):
        return None
    if config.under_pytest():
        return make_refusing_scope(
            task,
            "it carries no stamp of a test: enqueue it within one, through a Huey of aquila.huey or one that was "
            "instrumented; execute periodic tasks with run_periodic",
        )
    from aquila.recording.scope import Scope

    return Scope(kind="task", name=repr(task))


def make_refusing_scope(task: Any, reason: str) -> Scope:
    """A scope whose requests are all refused, for a reason."""
    from aquila.huey.refusing_scope import RefusingScope

    return RefusingScope(f"{task.name} ({task.id})", reason)


def _join_scope(huey: Any, stamp: Mapping[str, Any]) -> Scope:
    """The scope of another process, kept: the next task of the same test finds its cassettes loaded."""
    from aquila.recording import scope as scopes

    with _lock:
        scope = _joined.get(stamp["scope"])
        if scope is None:
            options = {name: value for name, value in stamp["options"].items() if name in _OPTIONS}
            if stamp["options"].get("transport") in _TRANSPORTS:
                options["transport"] = stamp["options"]["transport"]
            scope = scopes.join_scope(scopes.ScopeReference(stamp["scope"], stamp["name"], stamp["default"], options))
            _joined[scope.id] = _share_counts(huey, scope)
            while len(_joined) > _MAX_JOINED_SCOPES:
                _joined.popitem(last=False)[1].close()
        _joined.move_to_end(scope.id)
        return scope


class SharedCounts:
    """Counts requests in the storage of a Huey, which all its workers see."""

    def __init__(self, storage: Any, scope_id: str) -> None:
        self._storage = storage
        self._scope_id = scope_id

    def count_request(self, label: str) -> int:
        """Count a request and return how many came before it."""
        return int(self._storage.incr(self._counter_key(label))) - 1

    def count_of(self, label: str) -> int:
        """Return how many requests were counted."""
        return int(self._storage.incr(self._counter_key(label), 0))

    def _counter_key(self, label: str) -> str:
        return f"{_COUNTER_PREFIX}{self._scope_id}.{hashlib.sha256(label.encode()).hexdigest()[:24]}"


def _share_counts(huey: Any, scope: Scope) -> Scope:
    """Count the requests of another process's scope with that process and its other workers."""
    if not scope.is_owner and scope.counts is None:
        scope.share_counts(SharedCounts(huey.storage, scope.id))
    return scope


def share_with_workers(huey: Any) -> Scope | None:
    """Count the requests of the scope in force here together with workers in other processes, and return it."""
    from aquila.recording import scope as scopes

    scope = scopes.current_scope()
    if scope is not None and scope.counts is None:
        scope.share_counts(SharedCounts(huey.storage, scope.id))
    return scope


def _store_misses(huey: Any, task: Any, scope: Scope, known: int) -> None:
    """Leave what a task missed in the result store, where the owner of its scope looks."""
    for number, miss in enumerate(scope.misses[known:], start=known):
        key = f"{_MISS_PREFIX}{scope.id}.{task.id}.{os.getpid()}.{number}"
        huey.put(key, [isinstance(miss, PlayedOut), str(miss)])


def collect_misses(huey: Any, scope: Scope) -> None:
    """Take what workers in other processes missed out of the result store, as misses of this scope."""
    for key in sorted(huey.all_results()):
        if key.startswith(f"{_MISS_PREFIX}{scope.id}."):
            played_out, text = huey.get(key)
            scope.remember_miss(PlayedOut(text) if played_out else CassetteMiss(text))


def collect_misses_of_current_scope(huey: Any) -> None:
    """Take what workers missed as misses of the scope in force here, if one is open: of consumers that others run."""
    if "aquila.recording.scope" not in sys.modules:
        return
    from aquila.recording import scope as scopes

    try:
        scope = scopes.current_scope()
    except (SessionClosed, CassetteRequired):
        return
    if scope is not None:
        collect_misses(huey, scope)
