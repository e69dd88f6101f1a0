"""The scopes of other processes that the workers of this process take part in."""

from __future__ import annotations

import shlex
import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aquila.errors import ConfigError, MessageRejected
from aquila.huey.scope_sharing import share_counts
from aquila.lazy_imports import lazy_modules
from aquila.recording import runtime

if TYPE_CHECKING:
    from aquila.recording import scope as scopes
    from aquila.recording.scope import Scope
else:
    lazy_modules(globals(), scopes="aquila.recording.scope")

_MAX_OPEN = 16


class JoinedScopes:
    """Keeps the scopes that were joined last open, so that the next task of a test finds its cassettes loaded.

    A run owns one of these and drops it when it ends. A worker serves one test after another in the run of its process,
    and ends without being told. No recording is lost with it: each is in the journal as soon as it is complete.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # Worker threads that execute tasks of one test join its scope once.
        self._scopes: OrderedDict[str, Scope] = OrderedDict()

    def join_scope(self, huey: Any, reference: Mapping[str, Any]) -> Scope:
        """Return the scope of another process that a reference names. The one unused for the longest may be closed.

        The reference decides how requests are compared, and that this process only replays where its sender does.
        Whom it calls, and whether and how it records, this process was told when it was started. Raises
        ``MessageRejected`` where the two do not fit.
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
    # The scope that this process was forked within, or that the variable of its parent names.
    forked = (scope for scope in reversed(run.scopes.surrounding()) if not scope.is_owner)
    told = next(forked, None) or run.open_test_scope()
    if told is not None and told.id == reference["scope"]:
        return told
    own = told.settings if told is not None else run.layers.resolve()
    sent = reference["transport"]
    if sent not in (own.transport, "replay"):
        shown = shlex.quote(sent[:40])
        raise MessageRejected(
            f"the test that enqueued it uses the transport {shown}, and this worker was started with "
            f"{own.transport!r}, which no message changes. Start it with AQUILA_TRANSPORT={shown}"
        )
    options = {**reference["options"], "transport": sent, "record": own.record}
    try:
        own.with_options(options, source="a message")
    except ConfigError as error:
        raise MessageRejected(f"its reference has options that are none: {error}") from None
    return scopes.join_scope(
        scopes.ScopeReference(
            reference["scope"], reference["name"], reference["default"], options, script=reference.get("script")
        )
    )
