"""Scopes: a scope is one run of a test, a fixture, a task, a ``with`` block or a call, and has what belongs to that.

Within a scope each cassette has one session, so that the n-th identical request of a test gets the n-th recording,
whichever thread makes it. The scope in force is the one bound to the current context, else the one that is open in
the process; two that are open beside each other are never guessed between.

A scope has one owner. Another process may join it by its id (see ``scope_joining``). It replays by itself and records
into a journal of its own. The owner merges the journals when it closes the scope.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Literal

from aquila.cassettes.codecs import HOW_TO_RECORD
from aquila.cassettes.storage.scope_ids import checked_scope_id, new_scope_id
from aquila.config import OptionLayer
from aquila.errors import CassetteCorrupt, CassetteRequired, ConfigError, SessionClosed
from aquila.lazy_imports import lazy_modules
from aquila.quick_records import NamedTuple
from aquila.recording import runtime
from aquila.recording.reporting.child_messages import ChildMessages
from aquila.recording.reporting.reports import ScopeReport, StoredRecordings, summarize_scope
from aquila.recording.scope_parts.scope_faults import ScopeFaults
from aquila.recording.scope_parts.scope_misses import ScopeMisses
from aquila.recording.scope_parts.scope_scripts import ScopeScripts
from aquila.recording.sessions.scope_sessions import ScopeSessions
from aquila.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from aquila.recording import outlived_scopes
    from aquila.recording.sessions.filters import Filters
    from aquila.recording.sessions.session import Session
    from aquila.recording.storing import recorder
    from aquila.recording.storing.recorder import ScopeRecording
else:
    lazy_modules(globals(), "aquila.recording: outlived_scopes", "aquila.recording.storing: recorder")

bound_scope: ContextVar[Scope | None] = ContextVar("aquila_scope", default=None)
"""The scope to which a context is bound. Whoever binds a scope restores the one before; see ``bind_scope``."""

_RECORD_OPTION = r"(--(?:aquila-)?record)(?![\w=-])"  # the option without a value

ScopeKind = Literal["test", "fixture", "block", "task", "call"]


class _Recording:
    """``Scope.recording``, which is an ordinary attribute once it is made: reading it calls nothing."""

    def __get__(self, scope: Scope, _: type) -> ScopeRecording:
        # Of two threads that record first at the same time, both get the one that was stored first.
        made: ScopeRecording = vars(scope).setdefault("recording", recorder.ScopeRecording(scope))
        return made


class Scope:
    """One run of a test, fixture, block, task or call: what is around it, and which cassette answers in it.

    Its settings, its sessions, its scripts, faults and misses, and its recording are objects of their own.
    """

    refusal_advice: str | None = None  # what to do where the guard refuses something in it, if not the usual

    def __init__(
        self,
        *,
        kind: ScopeKind,
        name: str = "",
        command: str = "",
        default_cassette: str | None = None,
        owns_cassette: bool = False,
        models_only: bool = False,
        options: Mapping[str, Any] | None = None,
        joined_id: str | None = None,
        refusal: str | None = None,
        command_for_all: Callable[[], str] | None = None,
    ) -> None:
        """``name`` says what runs (a test's id), ``command`` what to type to record it again, ``command_for_all`` what
        to type to record everything again, where ``command`` does not say enough for that.

        ``default_cassette`` answers requests that name no cassette. ``owns_cassette`` says that it belongs to this
        scope alone, so that recordings it no longer uses may be dropped. ``models_only`` says that the cassette answers
        only requests to models; others are treated as if there were no cassette. ``options`` override settings.
        ``joined_id`` is the id of a scope of another process that this is a part of. ``refusal`` says why nothing
        answers here; then every request to a model raises ``CassetteRequired``.
        """
        self.id = new_scope_id() if joined_id is None else checked_scope_id(joined_id)
        self.kind = kind
        self.name = name
        self.command = command
        self._command_for_all = command_for_all
        self.default_cassette = default_cassette
        self.owns_cassette = owns_cassette
        self.keeps_unused = self.drops_unused = False
        self.models_only = models_only
        self._process = os.getpid() if joined_id is None else None  # the owner; None for a scope of another process
        self._followed: str | None = None  # the kind of the owner's scope, if this one ends with it
        # Both are set once, by `nest_within`, when the scope opens.
        self.parent: Scope | None = None
        self.around: tuple[Scope, ...] = ()
        """The scopes around it, from the inside out."""
        self.own_settings = OptionLayer(options or {}, source=name or "use_cassette")
        self._filters: Filters | None = None
        self.further_files: Sequence[Path] = ()  # see `use_filters`
        self._let_through: Callable[[str], bool] | None = None
        self.is_shared = False  # see `share`
        self.ended_sessions: list[Session] = []
        """The sessions of blocks within it that have ended, while it records: the code goes on with their answers."""
        self.block_reports: list[ScopeReport] = []
        """What the blocks within this scope did."""
        self.has_failed = self.has_listeners = False
        self.run = runtime.current_run()
        self.child_messages = self.run.state_of(ChildMessages)
        self.sessions = ScopeSessions(self, refusal=refusal)
        self.scripts, self.faults, self.misses = ScopeScripts(self), ScopeFaults(self), ScopeMisses(self)
        self.began_for = self.run.test.mark if self.run.test is not None else None
        self.run.scopes.register(self)

    # Who it is, and what is around it.

    @property
    def is_owner(self) -> bool:
        """Whether this process stores what the scope records. A forked child does not: its parent does."""
        return self._process == os.getpid()

    @property
    def is_joined(self) -> bool:
        """Whether another process has opened the scope, and this one has joined it by its id."""
        return self._process is None

    @property
    def shows_its_end(self) -> bool:
        """Whether child processes can see when it ends, because the process that runs the tests has opened it."""
        return self._followed is not None or self.child_messages.open_scopes.are_shown_by(self._process)

    def follow_owner(self, kind: str) -> None:
        """Say that its owner runs tests and shows when it ends, and of which ``kind`` it is there."""
        self._followed = kind

    @property
    def kind_of_owner(self) -> str:
        """The kind of the owner's scope, if it is known, else that of this one."""
        return self._followed or self.kind

    @property
    def closed(self) -> bool:
        """Whether it has ended."""
        return self.sessions.closed

    def describe(self) -> str:
        """Return its kind and its name, for messages."""
        return f"{self.kind} {self.name}".rstrip()

    def record_command(self, *, everything: bool = False) -> str:
        """Return what to type to record again what this scope runs: what has drifted, or ``everything``."""
        if everything and self._command_for_all is not None:
            return self._command_for_all()
        test, owner = self.run.test, next((each for each in (self, *self.around) if each.command), None)
        command = "" if owner is None else owner.command
        if owner is not None and owner.is_shared and test is not None and test.how_to_type is not None:
            command = test.how_to_type()[1]  # a block that a fixture has opened: another test set the fixture up
        if not command:
            more = " and AQUILA_RECORD=all" if everything else ""
            how = f"run it once with AQUILA_TRANSPORT=record{more} in the environment"
            return how if more or self.kind != "block" else f'{how}, or transport="record" in use_cassette'
        return re.sub(_RECORD_OPTION, r"\1=all", command) if everything else command

    def shown_damage(self, error: CassetteCorrupt) -> CassetteCorrupt:
        """Return the error of a damaged file with its path and the command as the user of this scope types them.

        It is the same object: a codec of a plugin may have a kind of its own, with other arguments.
        """
        text = self.run.layers.shown_text(str(error))
        text = text.replace(f": {HOW_TO_RECORD}=all", f": {self.record_command(everything=True)}")
        error.args = (text.replace(f": {HOW_TO_RECORD}", f": {self.record_command()}"),)
        return error

    def nest_within(self, parent: Scope | None) -> None:
        """Take settings and scripts from ``parent``, and let it hear of misses."""
        if parent is not None:
            self.parent, self.around = parent, (parent, *parent.around)
            self.scripts.nest_within(parent.scripts)
            self.faults.nest_within(parent.faults)

    # What it is configured to do.

    @property
    def has_answers(self) -> bool:
        """Whether a cassette or a script of a test or block answers its requests."""
        return self.default_cassette is not None or self.scripts.is_written

    @property
    def settings(self) -> Settings:
        """The settings in force: those around this scope, with its own options on top."""
        around = self.parent.settings if self.parent is not None else self.run.layers.resolve()
        return self.own_settings.resolve(around) if self.own_settings.options else around

    def override_settings(self, options: Mapping[str, Any], *, source: str) -> None:
        """Override settings for the rest of the scope. Raises ``UnknownOption`` or ``ConfigError``."""
        self.run.layers.resolve().with_options(options, source=source)
        self.own_settings.override(options)
        self.faults.note_options(options)
        self.announce_change()

    def gives(self, name: str) -> bool:
        """Whether it, or a scope around it, overrides the setting ``name`` of the run."""
        return any(name in each.own_settings.options for each in (self, *self.around))

    @property
    def filters(self) -> Filters | None:
        """Its own filters, else those of a scope around it. Other processes do not get them."""
        if self._filters is not None or self.parent is None:
            return self._filters
        return self.parent.filters

    def use_filters(self, filters: Filters, further_files: Sequence[Path] = ()) -> None:
        """Filter the interactions of every session that opens from now on.

        ``further_files`` are those from which the filters load further recordings.
        """
        self._filters, self.further_files = filters, further_files

    def let_through(self, hosts: Callable[[str], bool], advice: str) -> None:
        """Let the guard pass each host for which ``hosts`` is true. ``advice`` says what to do where it refuses one."""
        self._let_through, self.refusal_advice = hosts, advice

    def lets_through(self, host: str) -> bool:
        """Whether this scope, or one around it, lets the guard pass a host."""
        return any(each._let_through is not None and each._let_through(host) for each in (self, *self.around))

    def use_cassette(self, cassette: str | None, *, owned: bool, keeps_unused: bool = False) -> None:
        """Give the scope its default cassette, or none.

        ``owned`` says that no other scope uses it. ``keeps_unused`` says that recordings which the scope no longer uses
        stay all the same.
        """
        self.default_cassette, self.owns_cassette, self.keeps_unused = cassette, owned, keeps_unused
        self.announce_change()

    def keep_unused(self) -> None:
        """Keep recordings that the scope does not use: it has met a fault, after which programs ask for less."""
        self.keeps_unused = True

    def drop_unused(self) -> None:
        """Drop recordings that the scope does not use, even if it records nothing: its program has asked for that."""
        self.drops_unused = True

    def share(self) -> None:
        """Say that its code does not run again with one test: its fixture is set up, and several tests use it."""
        self.is_shared = True
        if self.settings.transport == "record":  # else nothing runs again
            self.child_messages.tell_shared(self.id)

    def announce_change(self) -> None:
        """Tell the watchers of the run that what answers in this scope has changed, if it is open."""
        if self in self.run.scopes:
            self.run.scopes.announce(self)

    # What it has done.

    recording = _Recording()
    """Its journal, and the merge at its end. Made when something first records."""

    def note_failure(self) -> None:
        """Say that the code in the scope has failed: that may be why answers are closed from now on."""
        self.has_failed = True

    def note_listener(self) -> None:
        """Say that clients with their own sockets are redirected to a listener, which may answer to the very end."""
        self.has_listeners = True

    def add_block_report(self, report: ScopeReport, sessions: Sequence[Session]) -> None:
        """Take in the report and the sessions of a block within this scope that has ended."""
        self.block_reports.append(report)
        self.ended_sessions += [session for session in sessions if session.mode != "replay"]

    def forget_unfinished(self) -> None:
        """Store no part of an answer that is still arriving."""
        recording: ScopeRecording | None = vars(self).get("recording")
        if recording is not None:
            recording.forget_unfinished()

    def close(self, *, passed: bool = True, adds_only: bool = False) -> ScopeReport:
        """End the scope. If it ``passed``, store what was recorded; else keep that in pending files.

        With ``adds_only`` what no cassette has yet is stored in any case, and no recording is replaced or dropped.
        Raises ``CassetteWriteError`` if it cannot be stored; the journals then stay and the next recording run merges
        them. Raises ``ConfigError``, with the scope ended, if a setting is wrong by now and nothing was recorded.
        """
        self.run.scopes.announce_end(self)
        recording: ScopeRecording | None = vars(self).get("recording")
        settings = None
        if recording is not None:
            recording.abandon_unfinished()
        self.sessions.stop_opening()
        self.run.scopes.close(self)
        self.sessions.close()
        if self.run.play_log is not None and self.is_owner:
            self.run.play_log.add_scope(self)
        try:
            settings = self.settings
        except ConfigError:  # a setting is wrong by now; what was recorded is still stored
            if recording is None:
                raise
        stores = self.is_owner and self.kind != "call"
        if recording is None and stores and settings is not None and settings.transport == "record":
            # Child processes may have recorded although this one did not; the recorder merges their journals.
            recording = self.recording
        if recording is not None and stores and self.misses.hear(is_last=True).drift is not None:
            recording.discard()
            return self._summarize(StoredRecordings(), settings)
        stored = recording.close(passed=passed, adds_only=adds_only) if recording is not None else StoredRecordings()
        return self._summarize(stored, settings)

    def _summarize(self, stored: StoredRecordings, settings: Settings | None) -> ScopeReport:
        report = summarize_scope(self, stored, settings)
        if self.run.exchange_watch is not None and self.is_owner:
            for told in self.child_messages.take_jobs(self.id):
                self.run.exchange_watch.take_job(told)
            self.run.exchange_watch.end_scope(self, report)
        return report


def current_scope() -> Scope | None:
    """The scope in force here: bound to this context, else the innermost that is open in the run.

    Raises ``SessionClosed`` in a context that outlived its scope, and ``CassetteRequired`` where scopes are open
    beside each other and nothing says which is meant.
    """
    scope = bound_scope.get()
    if scope is not None:
        if scope.closed:
            raise SessionClosed(
                f"{scope.describe()} has ended, and a thread or task that it started still makes requests. Wait for "
                f"that thread or task before the {scope.kind} ends"
            )
        return scope if scope._process == os.getpid() else outlived_scopes.require_open(scope)
    run = runtime.current_run()
    innermost = run.scopes.innermost()
    if innermost is None:
        innermost = run.open_test_scope()
        return innermost if innermost is None or innermost.is_owner else outlived_scopes.require_open(innermost)
    if len(run.scopes) > 1:
        surrounding = run.scopes.surrounding()
        if not {innermost, *innermost.around}.issuperset(surrounding):
            names = ", ".join(scope.name or scope.default_cassette or scope.kind for scope in surrounding)
            raise CassetteRequired(
                f"several cassettes are in use at once ({names}) and this thread belongs to none of them; "
                "start it with contextvars.copy_context().run, or name the cassette with cassette="
            )
    return innermost if innermost._process == os.getpid() else outlived_scopes.require_open(innermost)


def look_for_scope() -> tuple[Scope | None, SessionClosed | CassetteRequired | None]:
    """Return the scope in force here, if any, and the error that ``current_scope`` would raise instead, if any."""
    try:
        return current_scope(), None
    except (SessionClosed, CassetteRequired) as error:
        return None, error


class Surroundings(NamedTuple):
    """The scope in force where a call is made, if there is one, and the settings there."""

    scope: Scope | None
    settings: Settings


def find_surroundings() -> Surroundings:
    """Find the scope in force here and its settings. A call does this once, and hands both on.

    Raises what ``current_scope`` raises.
    """
    scope = current_scope()
    return Surroundings(scope, scope.settings if scope is not None else runtime.current_settings())


def bind_scope(scope: Scope | None) -> Scope | None:
    """Make a scope the one in force in this context, and return the one that was, for the caller to restore."""
    # Not by a token: a block may end in another context than it began in, where `ContextVar.reset` raises.
    before = bound_scope.get()
    _held = runtime.hold_values()
    bound_scope.set(scope)
    return before


def open_scope(scope: Scope) -> None:
    """Open a scope in its run: from now on, threads that are bound to no other scope find it."""
    scope.nest_within(None if scope.kind in ("test", "fixture") else scope_around(scope.run))
    scope.run.scopes.add(scope)


def scope_around(run: runtime.Run) -> Scope | None:
    """The scope around a block that opens here."""
    around = bound_scope.get()
    if around is not None and not around.closed:
        return around
    # A block that another thread has open is beside this one, not around it; a test is around all its threads.
    if run.scopes.innermost() is None:
        run.open_test_scope()
    return next((scope for scope in run.scopes.surrounding() if scope.kind in ("test", "fixture")), None)
