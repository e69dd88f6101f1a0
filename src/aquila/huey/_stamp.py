"""The stamp that a task carries over the wire: whose cassette its requests are answered from.

A reserved keyword argument of the message holds it: an id, not a path, so that a worker on another machine uses its own
cassette folder. Context variables and the environment cannot do this: a worker thread sees the value of whatever test
runs when the task does, a forked worker the one at the fork.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import sys
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from aquila import _ambient, config
from aquila.errors import CassetteMiss, CassetteRequired, MessageRejected, PlayedOut, SessionClosed

if TYPE_CHECKING:
    from aquila.cassettes.scope import Scope

KEY = "__aquila__"
"""The keyword argument. A worker without Aquila fails on it with a TypeError instead of answering from anywhere."""

# What a message may decide. Not what reaches further than a cassette: hosts, folders, keys, code.
_OPTIONS = ("record", "match_on", "ignore", "repeat", "record_errors", "replay_timing")
_TRANSPORTS = ("replay", "record", "live", "local")
_NUMBERS = {"attempt": 1, "deliveries": 0}
_MOST_JOINED = 16  # Scopes of other processes that a worker keeps open.
_MISS = "aquila.miss."
_PLAYS = "aquila.plays."

_here, _process = secrets.token_hex(8), os.getpid()  # Tell this process from others; a fork has its own id.
_NOT_RUN = object()
_joined: OrderedDict[str, Scope] = OrderedDict()
_lock = threading.Lock()


def of_this_context() -> dict[str, Any] | None:
    """The stamp of the scope in force here, or None."""
    if "aquila.cassettes.scope" not in sys.modules and _ambient.opener is None:
        return None  # No scope can be open, and a producer in production pays for no more than this.
    from aquila.cassettes import scope as scopes

    try:
        scope = scopes.current()
    except (SessionClosed, CassetteRequired) as error:
        return {"refused": str(error)}
    return _stamp_of(scope) if scope is not None else None


def _stamp_of(scope: Scope) -> dict[str, Any]:
    if (reason := getattr(scope, "refused", None)) is not None:
        return {"refused": reason}
    stamp = scope.stamp()
    options = {name: value for name, value in stamp.options.items() if name in _OPTIONS}
    if stamp.options.get("transport") in _TRANSPORTS:
        options["transport"] = stamp.options["transport"]
    options = {name: list(value) if isinstance(value, tuple) else value for name, value in options.items()}
    return {"scope": stamp.scope, "name": stamp.name, "default": stamp.default, "options": options, "from": _here}


def numbers_of(task: Any) -> dict[str, int]:
    """What a task carries besides its stamp: which attempt, and how often it was lost with its worker."""
    found = {name: getattr(task, f"_aquila_{name}", least) for name, least in _NUMBERS.items()}
    return {name: number for name, number in found.items() if number > _NUMBERS[name]}


def take(task: Any, carried: Any) -> None:
    """Give a task what came over the wire with it. Raises ``MessageRejected`` for what is malformed."""
    malformed = MessageRejected(f"a task whose stamp ({KEY}) is malformed")
    if not isinstance(carried, dict) or not carried:
        raise malformed
    stamp = dict(carried)
    for name, least in _NUMBERS.items():
        number = stamp.pop(name, least)
        if type(number) is not int or number < least:
            raise malformed
        setattr(task, f"_aquila_{name}", number)
    if isinstance(stamp.get("refused"), str) or not stamp:
        task._aquila_stamp = stamp or None
    elif (
        all(isinstance(stamp.get(name), str) for name in ("scope", "name", "from"))
        and isinstance(stamp.get("default"), str | None)
        and isinstance(stamp.get("options"), dict)
    ):
        task._aquila_stamp = stamp
    else:
        raise malformed


@contextlib.contextmanager
def in_force(huey: Any, task: Any, stamp: Mapping[str, Any] | None) -> Iterator[None]:
    """Put the scope of a stamp in force in this context, which is the task's own."""
    scope = _scope_for(huey, task, stamp)
    if scope is None:
        yield
        return
    from aquila.cassettes import scope as scopes

    own, known = scope.kind == "task" and scope.is_owner, len(scope.misses)
    with scopes.bound(scope):
        try:
            yield
        finally:
            if own:
                scope.close(passed=getattr(task, "_aquila_error", _NOT_RUN) is None)
            elif not scope.is_owner:
                _leave_misses(huey, task, scope, known)


def _scope_for(huey: Any, task: Any, stamp: Mapping[str, Any] | None) -> Scope | None:
    if stamp is None:
        return _scope_without_stamp(task)
    from aquila.cassettes import scope as scopes

    if "refused" in stamp:
        return refusing(task, stamp["refused"])
    found = scopes.find(stamp["scope"])
    if found is None and stamp["from"] == _here and os.getpid() == _process:
        return refusing(
            task,
            f"{stamp['name'] or 'what'} enqueued it and has ended: let the test drain the queue, or end its consumer, "
            "before it returns",
        )
    scope = _share(huey, found) if found is not None else _join(huey, stamp)
    if not scope.is_owner:
        scope.default = stamp["default"]  # A test may take its cassette after it has enqueued a task.
    return scope


def _scope_without_stamp(task: Any) -> Scope | None:
    if config.current().transport not in ("replay", "record"):
        return None
    if config.under_pytest():
        return refusing(
            task,
            "it carries no stamp of a test: enqueue it within one, through a Huey of aquila.huey or one that was "
            "instrumented; execute periodic tasks with run_periodic",
        )
    from aquila.cassettes.scope import Scope

    return Scope(kind="task", name=repr(task))


def refusing(task: Any, reason: str) -> Scope:
    """A scope whose requests are all refused, for a reason."""
    from aquila.huey._refusing import Refusing

    return Refusing(f"{task.name} ({task.id})", reason)


def _join(huey: Any, stamp: Mapping[str, Any]) -> Scope:
    """The scope of another process, kept: the next task of the same test finds its cassettes loaded."""
    from aquila.cassettes import scope as scopes

    with _lock:
        scope = _joined.get(stamp["scope"])
        if scope is None:
            options = {name: value for name, value in stamp["options"].items() if name in _OPTIONS}
            if stamp["options"].get("transport") in _TRANSPORTS:
                options["transport"] = stamp["options"]["transport"]
            scope = scopes.join(scopes.Stamp(stamp["scope"], stamp["name"], stamp["default"], options))
            _joined[scope.id] = _share(huey, scope)
            while len(_joined) > _MOST_JOINED:
                _joined.popitem(last=False)[1].close()
        _joined.move_to_end(scope.id)
        return scope


class SharedCounts:
    """Counts requests in the storage of a Huey, which all its workers see."""

    def __init__(self, storage: Any, scope_id: str) -> None:
        self._storage = storage
        self._scope_id = scope_id

    def take(self, label: str) -> int:
        """Count a request and return how many came before it."""
        return int(self._storage.incr(self._key(label))) - 1

    def asked(self, label: str) -> int:
        """Return how many requests were counted."""
        return int(self._storage.incr(self._key(label), 0))

    def _key(self, label: str) -> str:
        return f"{_PLAYS}{self._scope_id}.{hashlib.sha256(label.encode()).hexdigest()[:24]}"


def _share(huey: Any, scope: Scope) -> Scope:
    """Count the requests of another process's scope with that process and its other workers."""
    if not scope.is_owner and scope.counts is None:
        scope.share(SharedCounts(huey.storage, scope.id))
    return scope


def share_with_workers(huey: Any) -> Scope | None:
    """Count the requests of the scope in force here together with workers in other processes, and return it."""
    from aquila.cassettes import scope as scopes

    scope = scopes.current()
    if scope is not None and scope.counts is None:
        scope.share(SharedCounts(huey.storage, scope.id))
    return scope


def _leave_misses(huey: Any, task: Any, scope: Scope, known: int) -> None:
    """Leave what a task missed in the result store, where the owner of its scope looks."""
    for number, miss in enumerate(scope.misses[known:], start=known):
        key = f"{_MISS}{scope.id}.{task.id}.{os.getpid()}.{number}"
        huey.put(key, [isinstance(miss, PlayedOut), str(miss)])


def collect_misses(huey: Any, scope: Scope) -> None:
    """Take what workers in other processes missed out of the result store, as misses of this scope."""
    for key in sorted(huey.all_results()):
        if key.startswith(f"{_MISS}{scope.id}."):
            played_out, text = huey.get(key)
            scope.missed(PlayedOut(text) if played_out else CassetteMiss(text))
