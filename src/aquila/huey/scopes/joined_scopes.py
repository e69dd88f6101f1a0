"""The scopes of other processes that the workers of this process have joined."""

from __future__ import annotations

import shlex
import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aquila.errors import ConfigError, MessageRejected
from aquila.fork_locks import renewed_in_child
from aquila.huey.scopes.scope_sharing import share_counts
from aquila.lazy_imports import lazy_modules
from aquila.recording import runtime

if TYPE_CHECKING:
    from aquila.recording import scope_joining
    from aquila.recording.scope import Scope
else:
    lazy_modules(globals(), "aquila.recording: scope_joining")

_MAX_OPEN = 16


class JoinedScopes:
    """Keeps the last scopes that were joined open, so that the next task of a test finds its cassettes loaded.

    A run owns one such object, until the run ends. A worker serves one test after another in the run of its process,
    and does not learn when a test ends. If the worker is killed, no recording is lost, because each recording is in the
    journal as soon as it is complete.
    """

    def __init__(self) -> None:
        # Held while a scope is joined, so that worker threads with tasks of the same test join its scope only once.
        self._lock = renewed_in_child(threading.Lock())
        # By id, in order of their last use. Those beyond `_MAX_OPEN` are closed; `close_all` closes the rest.
        self._scopes: OrderedDict[str, Scope] = OrderedDict()

    def join_scope(self, huey: Any, reference: Mapping[str, Any]) -> Scope:
        """Return the scope of another process that ``reference``, the fields of a message, names.

        The scope that was unused for the longest time may be closed. The reference decides how requests are compared,
        and may restrict this process to replaying. Which provider it calls, and whether and how it records, was decided
        when this process was started. Raises ``MessageRejected`` where the two contradict each other.
        """
        with self._lock:
            scope = self._scopes.get(reference["scope"])
            if scope is None:
                scope = _join_scope(reference)
                share_counts(huey, scope)
                self._scopes[scope.id] = scope
                while len(self._scopes) > _MAX_OPEN:
                    self._scopes.popitem(last=False)[1].close()
            self._scopes.move_to_end(scope.id)
            return scope

    def close_all(self) -> None:
        """Close every scope that was joined."""
        with self._lock:
            while self._scopes:
                self._scopes.popitem()[1].close()


def _join_scope(reference: Mapping[str, Any]) -> Scope:
    run = runtime.current_run()
    # The scope within which this process was forked, or the one that an environment variable of its parent names.
    forked = (scope for scope in reversed(run.scopes.surrounding()) if not scope.is_owner)
    inherited = next(forked, None) or run.open_test_scope()
    if inherited is not None and inherited.id == reference["scope"]:
        return inherited
    own = inherited.settings if inherited is not None else run.layers.resolve()
    sent = reference["transport"]
    if sent not in (own.transport, "replay"):
        shown = shlex.quote(sent[:40])
        raise MessageRejected(
            f"the test that enqueued it uses the transport {shown}, and this worker was started with "
            f"{own.transport!r}, which no message changes. Start the worker with AQUILA_TRANSPORT={shown}"
        )
    options = {**reference["options"], "transport": sent, "record": own.record}
    try:
        own.with_options(options, source="a message")
    except ConfigError as error:
        raise MessageRejected(f"its reference has unknown options: {error}") from None
    return scope_joining.join_scope(
        scope_joining.ScopeReference(
            reference["scope"], reference["name"], reference["default"], options, script=reference.get("script")
        )
    )
