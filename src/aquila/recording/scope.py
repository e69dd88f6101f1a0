"""Scopes: what play counts belong to. A scope is one run of something: a test, a task, a ``with`` block, a call.

Within a scope each cassette has one session, so that the n-th identical request of a test gets the n-th recording,
whichever thread makes it. The scope in force is the one bound to the current context, else the one that is open in
the process; two that are open beside each other are never guessed between.

A scope has one owner. Another process may join it by its id (see ``Stamp``): it replays by itself and records into a
journal of its own, and the owner merges the journals when it closes the scope.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from aquila import config
from aquila.errors import CassetteMiss, CassetteRequired, SessionClosed
from aquila.recording import runtime
from aquila.recording.open_scopes import bound_scope
from aquila.recording.reports import ScopeReport
from aquila.recording.session import MissedRequest, RequestCounts, Session

if TYPE_CHECKING:
    from aquila.recording.drift_watch import DriftWatch
    from aquila.recording.recorder import ScopeRecording

Kind = Literal["test", "block", "task", "call"]


class UnfinishedRecording(Protocol):
    """A recording whose answer is still arriving."""

    def abandon(self) -> None:
        """End it as left by the caller."""


@dataclass(frozen=True, slots=True)
class ScopeReference:
    """What another process needs to join a scope. Small, and without a path: each side has its own cassette folder."""

    scope: str
    name: str
    default_cassette: str | None
    options: Mapping[str, Any] = field(default_factory=dict)


class Scope:
    """One run that counts plays.

    ``name`` says what runs (a test's id), ``command`` how to record it again, ``default`` is the cassette of requests
    that name none, ``owns_default`` whether that cassette belongs to this scope alone, so that recordings that it no
    longer uses may be dropped. ``options`` override settings.
    """

    def __init__(
        self,
        *,
        kind: Kind,
        name: str = "",
        command: str = "",
        default_cassette: str | None = None,
        owns_cassette: bool = False,
        options: Mapping[str, Any] | None = None,
        joined_id: str | None = None,
    ) -> None:
        self.id = joined_id or secrets.token_hex(8)
        self.kind = kind
        self.name = name
        self.command = command
        self.default_cassette = default_cassette
        self.owns_cassette = owns_cassette
        self._process = os.getpid() if joined_id is None else None
        self.parent: Scope | None = None
        self.closed = False
        self.sessions: dict[tuple[str, str], Session] = {}
        self.misses: list[CassetteMiss] = []
        self.block_reports: list[ScopeReport] = []
        self._options = dict(options or {})
        self._lock = threading.RLock()
        self._unfinished: set[UnfinishedRecording] = set()
        self._recording: ScopeRecording | None = None
        self.counts: RequestCounts | None = None
        self.drift_watch: DriftWatch | None = None
        self._settings: tuple[config.Settings, config.Settings] | None = None
        self.run = runtime.current_run()
        self.run.scopes.register(self)

    def nest_within(self, parent: Scope | None) -> None:
        """Take settings from ``parent``, and let it hear of misses."""
        self.parent = parent

    @property
    def is_owner(self) -> bool:
        """Whether this process stores what the scope records. A forked child does not: its parent does."""
        return self._process == os.getpid()

    def enclosing(self) -> Iterator[Scope]:
        """This scope and those around it, from the inside out."""
        scope: Scope | None = self
        while scope is not None:
            yield scope
            scope = scope.parent

    @property
    def settings(self) -> config.Settings:
        """The settings in force: those around this scope, with its own options on top."""
        around = self.parent.settings if self.parent is not None else self.run.settings()
        if not self._options:
            return around
        known = self._settings
        if known is None or known[0] is not around:
            known = self._settings = around, around.with_options(self._options, source=self.name or "use_cassette")
        return known[1]

    def override_settings(self, options: Mapping[str, Any], *, source: str) -> None:
        """Override settings for the rest of the scope. Raises ``UnknownOption`` or ``ConfigError``."""
        self.run.settings().with_options(options, source=source)
        self._options.update(options)
        self._settings = None
        if self in self.run.scopes:
            self.run.scopes.announce(self)

    def use_cassette(self, cassette: str, *, owned: bool) -> None:
        """Give the scope its default cassette. ``owned`` says that no other scope uses it."""
        self.default_cassette, self.owns_cassette = cassette, owned
        if self in self.run.scopes:
            self.run.scopes.announce(self)

    def session_for(self, cassette: str, mode: str) -> Session:
        """The session of a cassette in this scope, opened on first use.

        ``mode`` is ``replay``, ``missing`` or ``all``. Raises what loading and naming raise, and for a recording mode
        ``CassetteWriteError`` if nothing could be stored.
        """
        with self._lock:
            if self.closed:
                raise SessionClosed(f"{self._describe()} has ended; nothing can use its cassette {cassette!r} any more")
            session = self.sessions.get((cassette, mode))
            if session is None:
                session = self.sessions[cassette, mode] = self._open_session(cassette, mode)
            return session

    def has_session(self, cassette: str, mode: str) -> bool:
        """Whether the session is open already, so that getting it does no I/O."""
        return (cassette, mode) in self.sessions

    def _open_session(self, cassette: str, mode: str) -> Session:
        from aquila.recording import session_factory

        if mode != "replay":
            self.recording.open_journal()  # first: nothing is asked for that could not be stored
        session = session_factory.open_session(self, cassette, mode)
        if self.drift_watch is not None:
            session.observe_request = self.drift_watch.observer_for(session)
        if self.counts is not None:
            session.share_counts(self.counts)
            if self.is_owner:
                session.adopt_shared_plays()  # others may have used the cassette before this process does
        return session

    def share_counts(self, counts: RequestCounts) -> None:
        """Count requests together with other processes from now on, so that the n-th of all gets the n-th recording."""
        with self._lock:
            self.counts = counts
            for session in self.sessions.values():
                session.share_counts(counts)

    def adopt_shared_plays(self) -> None:
        """Take in what other processes have played."""
        for session in list(self.sessions.values()):
            session.adopt_shared_plays()

    @property
    def recording(self) -> ScopeRecording:
        """What this scope records into: its journal, and the merge at its end."""
        if self._recording is None:
            from aquila.recording.recorder import ScopeRecording

            self._recording = ScopeRecording(self)
        return self._recording

    def track_unfinished(self, unfinished: UnfinishedRecording) -> None:
        """Remember a recording in progress: it is ended as ``closed`` if the scope closes first.

        It is kept alive: an answer that its caller dropped without closing it was left, not unasked.
        """
        self._unfinished.add(unfinished)

    def forget_unfinished(self, unfinished: UnfinishedRecording) -> None:
        """Forget a recording that has ended."""
        self._unfinished.discard(unfinished)

    def explain_miss(self, session: Session, path: Path, explained: MissedRequest) -> str:
        """The text of a miss in this scope."""
        from aquila.cassettes.matching.miss_message import explain_miss

        with suppress(ValueError):
            path = path.relative_to(Path.cwd())
        shown = str(path)
        return explain_miss(
            explained.request,
            recordings=session.cassette.interactions,
            rules=session.rules,
            cassette=shown if path.exists() else f"{shown} (no such file)",
            command=self.record_command(),
            redactor=session.redactor,
            played_out=explained.earlier_count + 1 if explained.recording_count else None,
        )

    def record_command(self) -> str:
        """What to type to record again what this scope runs."""
        return self.command or "run it once with AQUILA_TRANSPORT=record in the environment"

    def remember_miss(self, error: CassetteMiss) -> None:
        """Remember a miss, so that code that swallows it does not hide it."""
        self.misses.append(error)
        if self.kind == "call" or not self.is_owner:
            return
        if self.parent is not None and not self.parent.closed:
            self.parent.remember_miss(error)

    def make_reference(self, *, recording: bool = True) -> ScopeReference:
        """What lets another process join this scope. ``recording`` says that one surely will record."""
        settings = self.settings
        if recording and settings.transport == "record":
            self.recording.open_journal()  # the owner's journal marks the scope as alive
        options = {**self._options, "transport": settings.transport, "record": settings.record}
        return ScopeReference(self.id, self.name, self.default_cassette, options)

    def close(self, *, passed: bool = True) -> ScopeReport:
        """End the scope: what was recorded is stored if it ``passed``, and kept beside otherwise.

        Raises ``CassetteWriteError`` if it cannot be stored; the journals then stay and the next recording run merges
        them.
        """
        for unfinished in list(self._unfinished):
            unfinished.abandon()
        with self._lock:
            self.closed = True
        self.run.scopes.close(self)
        for session in self.sessions.values():
            session.close()
        if self._recording is None and self.is_owner and self.kind != "call" and self.settings.transport == "record":
            self._recording = self.recording  # child processes may have recorded where this one did not
        stored = self._recording.close(passed=passed) if self._recording is not None else None
        return ScopeReport.of(self, stored)

    def _describe(self) -> str:
        return f"{self.kind} {self.name}".rstrip()


def current_scope() -> Scope | None:
    """The scope in force here: bound to this context, else the innermost that is open in the run.

    Raises ``SessionClosed`` in a context that outlived its scope, and ``CassetteRequired`` where scopes are open
    beside each other and nothing says which is meant.
    """
    scope = bound_scope.get()
    if scope is not None:
        if scope.closed:
            raise SessionClosed(
                f"{scope._describe()} has ended, and something it started is still making requests; wait for it first"
            )
        return scope
    run = runtime.current_run()
    innermost = run.scopes.innermost()
    if innermost is None:
        return run.open_test_scope()
    if len(run.scopes) > 1:
        surrounding = run.scopes.surrounding()
        if not set(innermost.enclosing()).issuperset(surrounding):
            names = ", ".join(scope.name or scope.default_cassette or scope.kind for scope in surrounding)
            raise CassetteRequired(
                f"several cassettes are in use at once ({names}) and this thread belongs to none of them; "
                "start it with contextvars.copy_context().run, or name the cassette with cassette="
            )
    return innermost


def find_scope(scope_id: str) -> Scope | None:
    """The scope of this run with an id, if it has not been closed."""
    return runtime.current_run().scopes.find(scope_id)


def join_scope(reference: ScopeReference) -> Scope:
    """Return the scope of a reference: the one of this process, or a new part of another process's scope."""
    found = find_scope(reference.scope)
    if found is not None:
        return found
    scope = Scope(
        kind="task",
        name=reference.name,
        default_cassette=reference.default_cassette,
        options=reference.options,
        joined_id=reference.scope,
    )
    scope.run.scopes.announce(scope)
    return scope


def bind_scope(scope: Scope | None) -> Scope | None:
    """Make a scope the one in force in this context and return the one that was."""
    before = bound_scope.get()
    bound_scope.set(scope)
    return before


@contextmanager
def binding_scope(scope: Scope | None) -> Iterator[None]:
    """Make a scope the one in force in this context, and only here; None hides an outer one."""
    before = bind_scope(scope)
    try:
        yield
    finally:
        bind_scope(before)  # not reset(token): a fixture may be left in another context than it was entered in


def open_scope(scope: Scope) -> None:
    """Let a scope surround what its run does from now on: threads that are bound to no other find it."""
    scope.nest_within(None if scope.kind == "test" else _scope_around(scope.run))
    scope.run.scopes.add(scope)


def _scope_around(run: runtime.Run) -> Scope | None:
    """The scope around one that opens here."""
    around = bound_scope.get()
    if around is not None and not around.closed:
        return around
    # A block that another thread has open is beside this one, not around it; a test is around all its threads.
    if run.scopes.innermost() is None:
        run.open_test_scope()
    return next((scope for scope in run.scopes.surrounding() if scope.kind == "test"), None)


def suspend_scope(scope: Scope) -> None:
    """Put an open scope aside: nothing finds it until ``resume_scope``, except what is bound to it."""
    scope.run.scopes.suspend(scope)


def resume_scope(scope: Scope) -> None:
    """Undo ``suspend_scope``. The scope is around those that were opened within it, as before."""
    scope.run.scopes.resume(scope)


def remove_scope(scope: Scope) -> None:
    """Undo ``open_scope``. Scopes may be removed in any order."""
    scope.run.scopes.remove(scope)
