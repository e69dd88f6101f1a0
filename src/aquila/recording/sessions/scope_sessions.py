"""The sessions of a scope: one for each cassette and mode, opened when something asks for it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from aquila.errors import CassetteCorrupt, CassetteRequired, CassetteUnusable, LiveCallRefused, SessionClosed
from aquila.fork_locks import renewed_in_child
from aquila.lazy_imports import lazy_modules
from aquila.recording.reporting.played_answers import tell_plays
from aquila.recording.scope_parts.scope_part import ScopePart
from aquila.recording.sessions import session_factory
from aquila.recording.sessions.session import Session

if TYPE_CHECKING:
    from aquila.recording.network import guard
    from aquila.recording.reporting import drift_watch
    from aquila.recording.scope import Scope
    from aquila.recording.sessions.recording_keys import RequestCounts
else:
    lazy_modules(globals(), "aquila.recording.network: guard", "aquila.recording.reporting: drift_watch")


class ScopeSessions(ScopePart):
    """The sessions of ``scope``. With a ``refusal`` none opens; it says why."""

    def __init__(self, scope: Scope, *, refusal: str | None = None) -> None:
        super().__init__(scope)
        self.refusal = refusal
        self.closed = False
        # Held while a session opens: the other threads of the scope wait, and get the same session.
        self._lock = renewed_in_child(threading.RLock())
        self._sessions: dict[tuple[str, str], Session] = {}  # by cassette and mode; kept after the end, for the report
        self._addresses: dict[str, frozenset[str]] = {}  # see `holds_address`
        self.may_replay = False
        """Whether one of the sessions has recordings that may answer."""
        self.counts: RequestCounts | None = None
        self.watches_contents = False  # see `watch_contents`
        self.unusable: list[LiveCallRefused] = []
        """What was noted for the running test because a cassette could not be read."""

    def session_for(self, cassette: str, mode: str) -> Session:
        """The session of a cassette in this scope, opened on first use.

        ``mode`` is that of ``Session``. Raises what loading and naming raise.
        """
        if self.refusal is not None:
            raise CassetteRequired(f"the {self._scope.describe()} makes a request to a model, and {self.refusal}")
        with self._lock:
            if self.closed:
                raise SessionClosed(
                    f"{self._scope.describe()} has ended; nothing can use its cassette {cassette!r} any more"
                )
            session = self._sessions.get((cassette, mode))
            if session is None:
                session = self._sessions[cassette, mode] = self._open_session(cassette, mode)
            return session

    def watch_contents(self) -> None:
        """Note each request that a recording answers under the settings although its content differs from all."""
        self.watches_contents = True

    def has_session(self, cassette: str, mode: str) -> bool:
        """Whether the session is open already, so that getting it does no I/O."""
        return (cassette, mode) in self._sessions

    def holds_address(self, cassette: str, url: str) -> bool:
        """Whether a cassette held a recording of a URL, whatever its query, when this was first asked.

        Raises what loading and naming raise.
        """
        with self._lock:
            if cassette not in self._addresses:
                try:
                    self._addresses[cassette] = session_factory.addresses_in_cassette(self._scope, cassette)
                except CassetteCorrupt as error:
                    raise self._scope.shown_damage(error) from error.__cause__
        return session_factory.address_within(self._scope, url) in self._addresses[cassette]

    def opened(self) -> Sequence[Session]:
        """The sessions that were opened so far. Those of a closed scope stay, for its report."""
        return tuple(self._sessions.values())

    def opened_for(self, cassette: str | None) -> Sequence[Session]:
        """The sessions that were opened for one cassette: at most one for each mode."""
        return [session for session in tuple(self._sessions.values()) if session.name == cassette]

    def _open_session(self, cassette: str, mode: str) -> Session:
        scope = self._scope
        if mode != "replay":
            # Before anything else: as long as it is open, no other run takes the recordings for abandoned ones.
            scope.recording.open_journal()
        try:
            session = session_factory.open_session(scope, cassette, mode)
        except CassetteCorrupt as error:
            shown = scope.shown_damage(error)
            if scope.kind_of_owner != "block":  # like a miss: the program may swallow it, and use no answer of a model
                self.unusable.append(guard.note_refusal(str(shown), scope.run, CassetteUnusable))
            raise shown from error.__cause__
        self.may_replay = self.may_replay or (bool(session.cassette.interactions) and not session.records_everything)
        run = scope.run
        if self.watches_contents:
            session.observers.append(drift_watch.note_other_contents(scope, session))
        if not scope.is_owner:
            session.observers.append(tell_plays(scope, session))
        if run.make_outcome is None or not run.is_here:
            scope.child_messages.tell_used(str(scope.settings.cassette_root()), cassette)
        if self.counts is not None:
            session.share_counts(self.counts)
            if scope.is_owner:
                session.adopt_shared_plays()  # others may have used the cassette before this process does
        return session

    def share_counts(self, counts: RequestCounts) -> None:
        """Count requests together with other processes from now on, so that the n-th of all gets the n-th recording."""
        with self._lock:
            self.counts = counts
            for session in self._sessions.values():
                session.share_counts(counts)

    def adopt_shared_plays(self) -> None:
        """Take in what other processes have played."""
        for session in self.opened():
            session.adopt_shared_plays()

    def stop_opening(self) -> None:
        """Open no session any more. Waits for one that is being opened."""
        with self._lock:
            self.closed = True

    def close(self) -> None:
        """End the sessions: they refuse further requests."""
        for session in self.opened():
            session.close()
