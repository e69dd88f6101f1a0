"""Scopes: what play counts belong to. A scope is one run of something: a test, a task, a ``with`` block, a call.

Within a scope each cassette has one session, so that the n-th identical request of a test gets the n-th recording,
whichever thread makes it. The scope in force is the one bound to the current context, else the one that is open in
the process; two that are open beside each other are never guessed between.

A scope has one owner. Another process may join it by its id (see ``ScopeReference``). It replays by itself and records
into a journal of its own. The owner merges the journals when it closes the scope.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from aquila import config
from aquila.errors import CassetteMiss, CassetteRequired, SessionClosed
from aquila.lazy_imports import lazy_modules
from aquila.recording import runtime
from aquila.recording.child_misses import ChildMisses
from aquila.recording.miss_log import MissLog
from aquila.recording.reports import ScopeReport, StoredRecordings, summarize_scope
from aquila.recording.scope_sessions import ScopeSessions
from aquila.recording.scope_settings import ScopeSettings

if TYPE_CHECKING:
    from aquila.recording import recorder
    from aquila.recording.recorder import ScopeRecording
else:
    lazy_modules(globals(), recorder="aquila.recording.recorder")

bound_scope: ContextVar[Scope | None] = ContextVar("aquila_scope", default=None)
"""The scope that a context is bound to. It belongs to the context: whoever binds one restores the one before."""

Kind = Literal["test", "fixture", "block", "task", "call"]


@dataclass(frozen=True, slots=True)
class ScopeReference:
    """What another process needs to join a scope. Small, and without a path: each side has its own cassette folder."""

    scope: str
    name: str
    default_cassette: str | None
    options: Mapping[str, Any] = field(default_factory=dict)
    models_only: bool = False


class Scope:
    """One run of something that counts plays: who it is, what is around it, and which cassette answers in it.

    Its settings, its sessions, its misses and its recording are objects of their own.
    """

    def __init__(
        self,
        *,
        kind: Kind,
        name: str = "",
        command: str = "",
        default_cassette: str | None = None,
        owns_cassette: bool = False,
        models_only: bool = False,
        options: Mapping[str, Any] | None = None,
        joined_id: str | None = None,
        refusal: str | None = None,
    ) -> None:
        """``name`` says what runs (a test's id), ``command`` what to type to record it again.

        ``default_cassette`` answers requests that name no cassette. ``owns_cassette`` says that it belongs to this
        scope alone, so that recordings it no longer uses may be dropped. ``models_only`` says that requests for
        something else than a model go their own way, as if there were no cassette. ``options`` override settings.
        ``joined_id`` is the id of a scope of another process, of which this one is a part. ``refusal`` says why nothing
        may answer its requests, if that is so.
        """
        self.id = joined_id or secrets.token_hex(8)
        self.kind = kind
        self.name = name
        self.command = command
        self.default_cassette = default_cassette
        self.owns_cassette = owns_cassette
        self.models_only = models_only
        self._process = os.getpid() if joined_id is None else None
        self.parent: Scope | None = None
        self._own_settings = ScopeSettings(options or {}, source=name or "use_cassette")
        self.sessions = ScopeSessions(self, refusal=refusal)
        self._misses = MissLog()
        self._recording: ScopeRecording | None = None
        self._block_reports: list[ScopeReport] = []
        self.has_failed = False
        self.run = runtime.current_run()
        self.run.scopes.register(self)

    # Who it is, and what is around it.

    @property
    def is_owner(self) -> bool:
        """Whether this process stores what the scope records. A forked child does not: its parent does."""
        return self._process == os.getpid()

    @property
    def closed(self) -> bool:
        """Whether it has ended."""
        return self.sessions.closed

    def describe(self) -> str:
        """Return its kind and its name, for messages."""
        return f"{self.kind} {self.name}".rstrip()

    def record_command(self) -> str:
        """Return what to type to record again what this scope runs."""
        return self.command or "run it once with AQUILA_TRANSPORT=record in the environment"

    def nest_within(self, parent: Scope | None) -> None:
        """Take settings from ``parent``, and let it hear of misses."""
        self.parent = parent

    def enclosing(self) -> Iterator[Scope]:
        """This scope and those around it, from the inside out."""
        scope: Scope | None = self
        while scope is not None:
            yield scope
            scope = scope.parent

    # What it is configured to do.

    @property
    def settings(self) -> config.Settings:
        """The settings in force: those around this scope, with its own options on top."""
        around = self.parent.settings if self.parent is not None else self.run.layers.resolve()
        return self._own_settings.resolve(around)

    def override_settings(self, options: Mapping[str, Any], *, source: str) -> None:
        """Override settings for the rest of the scope. Raises ``UnknownOption`` or ``ConfigError``."""
        self.run.layers.resolve().with_options(options, source=source)
        self._own_settings.override(options)
        self._announce_change()

    def use_cassette(self, cassette: str | None, *, owned: bool) -> None:
        """Give the scope its default cassette, or none. ``owned`` says that no other scope uses it."""
        self.default_cassette, self.owns_cassette = cassette, owned
        self._announce_change()

    def _announce_change(self) -> None:
        if self in self.run.scopes:
            self.run.scopes.announce(self)

    # What it has done.

    @property
    def recording(self) -> ScopeRecording:
        """What this scope records into: its journal, and the merge at its end."""
        if self._recording is None:
            self._recording = recorder.ScopeRecording(self)
        return self._recording

    @property
    def misses(self) -> MissLog:
        """The misses so far, those of child processes included."""
        if self.is_owner:
            for miss in self.run.state_of(ChildMisses).take(self.id):
                self.remember_miss(miss, str(miss))
        return self._misses

    def remember_miss(self, error: CassetteMiss, attempt: Hashable = None) -> None:
        """Remember a miss here, and in the scopes around that end after this one.

        Of misses with an equal ``attempt``, if it is not None, only the first is remembered.
        """
        self._misses.remember(error, attempt)
        if not self.is_owner:
            self.run.state_of(ChildMisses).tell(self.id, error)
        if self.kind == "call" or not self.is_owner:
            return
        if self.parent is not None and not self.parent.closed:
            self.parent.remember_miss(error, attempt)

    def note_failure(self) -> None:
        """Say that what runs in the scope has failed: an answer that is closed from now on may be closed for that."""
        self.has_failed = True

    def add_block_report(self, report: ScopeReport) -> None:
        """Take in what a block within this scope did."""
        self._block_reports.append(report)

    @property
    def block_reports(self) -> Sequence[ScopeReport]:
        """What the blocks within this scope did."""
        return self._block_reports

    def make_reference(self, *, recording: bool = True) -> ScopeReference:
        """What lets another process join this scope. ``recording`` says that one surely will record."""
        settings = self.settings
        if recording and settings.transport == "record":
            self.recording.open_journal()  # the owner's journal marks the scope as alive
        options = {**self._own_settings.options, "transport": settings.transport, "record": settings.record}
        return ScopeReference(self.id, self.name, self.default_cassette, options, self.models_only)

    def close(self, *, passed: bool = True, adds_only: bool = False) -> ScopeReport:
        """End the scope: what was recorded is stored if it ``passed``, and kept beside otherwise.

        With ``adds_only`` what no cassette has yet is stored all the same, and no recording is replaced or dropped.

        Raises ``CassetteWriteError`` if it cannot be stored; the journals then stay and the next recording run merges
        them.
        """
        if self._recording is not None:
            self._recording.abandon_unfinished()
        self.sessions.stop_opening()
        self.run.scopes.close(self)
        self.sessions.close()
        if self._recording is None and self.is_owner and self.kind != "call" and self.settings.transport == "record":
            self._recording = self.recording  # child processes may have recorded where this one did not
        recording = self._recording
        stored = recording.close(passed=passed, adds_only=adds_only) if recording is not None else StoredRecordings()
        return summarize_scope(self, stored)


def current_scope() -> Scope | None:
    """The scope in force here: bound to this context, else the innermost that is open in the run.

    Raises ``SessionClosed`` in a context that outlived its scope, and ``CassetteRequired`` where scopes are open
    beside each other and nothing says which is meant.
    """
    scope = bound_scope.get()
    if scope is not None:
        if scope.closed:
            raise SessionClosed(
                f"{scope.describe()} has ended, and something it started is still making requests; wait for it first"
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


class Surroundings(NamedTuple):
    """What decides about a call: the scope in force where it is made, if there is one, and the settings there."""

    scope: Scope | None
    settings: config.Settings


def find_surroundings() -> Surroundings:
    """Find the scope in force here and its settings. Once for each call: what follows is handed both.

    Raises what ``current_scope`` raises.
    """
    scope = current_scope()
    return Surroundings(scope, scope.settings if scope is not None else runtime.current_settings())


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
        models_only=reference.models_only,
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


def open_scope(scope: Scope) -> None:
    """Let a scope surround what its run does from now on: threads that are bound to no other find it."""
    scope.nest_within(None if scope.kind in ("test", "fixture") else _scope_around(scope.run))
    scope.run.scopes.add(scope)


def _scope_around(run: runtime.Run) -> Scope | None:
    """The scope around one that opens here."""
    around = bound_scope.get()
    if around is not None and not around.closed:
        return around
    # A block that another thread has open is beside this one, not around it; a test is around all its threads.
    if run.scopes.innermost() is None:
        run.open_test_scope()
    return next((scope for scope in run.scopes.surrounding() if scope.kind in ("test", "fixture")), None)


def suspend_scope(scope: Scope) -> None:
    """Put an open scope aside: nothing finds it until ``resume_scope``, except what is bound to it."""
    scope.run.scopes.suspend(scope)


def resume_scope(scope: Scope) -> None:
    """Undo ``suspend_scope``. The scope is around those that were opened within it, as before."""
    scope.run.scopes.resume(scope)


def remove_scope(scope: Scope) -> None:
    """Undo ``open_scope``. Scopes may be removed in any order."""
    scope.run.scopes.remove(scope)
