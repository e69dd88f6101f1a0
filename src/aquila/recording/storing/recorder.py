"""Appends each finished interaction of a scope to a journal, and merges the journals into cassettes at the end."""

from __future__ import annotations

import contextlib
import errno
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from aquila.cassettes.answers.answer_content import model_of_chunks
from aquila.cassettes.body_file import StoredChunks
from aquila.cassettes.matching.match_rules import MatchRules
from aquila.cassettes.model import Interaction, InteractionKind, RecordedChunk, RecordedResponse
from aquila.cassettes.storage import journal
from aquila.cassettes.storage.journal_entries import JournalEntry
from aquila.cassettes.storage.large_bodies import surely_has_large_bodies
from aquila.cassettes.storage.merging import Changes, NewRecording
from aquila.cassettes.storage.recording_slots import RecordingPlayed, Slot
from aquila.cassettes.storage.work_folder import remove_unused_work_folder
from aquila.errors import BudgetSpent, CassetteCorrupt, CassetteUnusable, CassetteWriteError
from aquila.option_parsing import read_budget
from aquila.recording.network import guard
from aquila.recording.reporting.played_answers import count_tokens, describe_recorded
from aquila.recording.reporting.reports import StoredRecordings
from aquila.recording.secrets import late_secrets
from aquila.recording.sessions import drifted_conversations
from aquila.recording.sessions.session import Session
from aquila.recording.sessions.session_decisions import RecordDecision, ReplayDecision
from aquila.recording.storing.journal_merging import (
    changes_by_cassette,
    read_journals,
    store_additions,
    store_changes,
)
from aquila.recording.storing.large_answer import LargeAnswer
from aquila.recording.storing.machine_clock import unix_seconds, utc_time
from aquila.recording.storing.record_budget import RecordBudget, describe_budget
from aquila.recording.storing.storage_failures import raise_failures

if TYPE_CHECKING:
    from aquila.recording.scope import Scope

_UNSTORED = (CassetteWriteError, CassetteCorrupt)
AnyRow = TypeVar("AnyRow", NewRecording, RecordingPlayed)


class UnfinishedRecording(Protocol):
    """A recording whose answer is still arriving."""

    def abandon(self, *, left_open: bool) -> None:
        """End it as left by the caller. ``left_open`` is that of ``NewRecording``."""

    def forget(self) -> None:
        """Store nothing of it, unless a part is of use."""


class ScopeRecording:
    """The recordings of a scope in this process: its journal, the answers in progress, and the merge at the end."""

    def __init__(self, scope: Scope) -> None:
        self.run = scope.run
        self._scope = scope
        self._settings = scope.settings
        self._root = self._settings.cassette_root()
        given = self._settings.record_budget
        self.budget = None if given is None else read_budget(given)
        """How much the run may record."""
        self.may_refuse = self.budget is not None
        """Whether ``take_request`` has something to check."""
        self._journal = journal.Journal(self._root, scope.id, durable=self._settings.durable == "fsync")
        # Strong references: an answer that its caller dropped without closing must still be stored, as closed early.
        self.unfinished: set[UnfinishedRecording] = set()
        """The recordings in progress: their ``abandon`` ends them if the scope closes first."""
        self._failed_end: Exception | None = None  # set by `abandon_unfinished`, and raised by `close`

    def open_journal(self) -> None:
        """Open the journal if that is possible. ``take_request`` raises if it is not: a replay needs no journal.

        Raises ``CassetteWriteError`` if too many files are open, or the folder of cassettes is none: then the cassette
        cannot be read either.
        """
        try:
            self._journal.open()
        except CassetteWriteError as error:
            if getattr(error.__cause__, "errno", None) in (errno.EMFILE, errno.ENFILE, errno.ENOTDIR):
                self._count_failure(error)
                raise
            self.may_refuse = True

    @contextlib.contextmanager
    def counting_failures(self) -> Iterator[None]:
        """Note errors of writing in the run: the program that gets the error may swallow it."""
        try:
            yield
        except _UNSTORED as error:
            self._count_failure(error)
            raise

    def _count_failure(self, error: Exception) -> None:
        if str(error) not in self.run.unstored:
            self.run.unstored.append(str(error))
        if not self._scope.is_owner:  # a child process, whose list nobody sees: the test that runs is to fail
            guard.note_refusal(str(error), self.run, CassetteUnusable)

    def take_request(self, record: RecordDecision) -> BudgetSpent | None:
        """Count a request that is to be sent. If the budget of the run is spent, return the error instead.

        Raises ``CassetteWriteError`` if its answer could not be stored, because it costs money, or if it cannot be
        counted.
        """
        with self.counting_failures():
            self._journal.open()
        budget = self.budget
        if budget is None:
            return None
        with self.counting_failures():
            spent = self.run.state_of(RecordBudget).take_request(budget)
        if spent is None:
            return None
        return BudgetSpent(
            f"{record.request.method} {record.request.url} was not sent: the budget for recordings is spent "
            f"({describe_budget(budget, spent)}). What was recorded so far is kept. To record more, raise "
            "aquila_record_budget, or AQUILA_RECORD_BUDGET"
        )

    def abandon_unfinished(self) -> None:
        """End every recording in progress. If one cannot be stored, ``close`` raises the error later."""
        for unfinished in list(self.unfinished):
            try:
                unfinished.abandon(left_open=True)
            except Exception as error:  # noqa: BLE001 - the scope must end, or it would answer all later requests
                self._failed_end = self._failed_end or error

    def forget_unfinished(self) -> None:
        """Store no part of an answer in progress: neither the program nor the provider is about to end it."""
        for unfinished in list(self.unfinished):
            unfinished.forget()

    def store_interaction(
        self,
        session: Session,
        record: RecordDecision,
        response: RecordedResponse,
        *,
        kind: InteractionKind = "http",
        left_open: bool = False,
        replaces: bool = False,
    ) -> None:
        """Store a finished interaction, unless filters leave it out: in the journal first, then in the session.

        ``left_open`` is that of ``NewRecording``. ``replaces`` says that it replaces what was stored of the same
        request before. Raises ``CassetteWriteError``, and ``SessionClosed`` if the session has ended.
        """
        recorded_at = _now()
        # Chunks in a file were redacted while they were written, so only the rest of the response is redacted here.
        chunks = response.chunks if isinstance(response.chunks, StoredChunks) else None
        if chunks is not None:
            response = replace(response, chunks=())
        request = record.request
        if session.filters is not None:
            filtered = session.filters.filter_recorded(request, response)
            if filtered is None:
                return
            response = filtered.response
            if filtered.request is not request:
                request = session.redactor.redact_request(filtered.request)
        request, response = session.redactor.redact_recorded(
            request, response, record.numbers, body_elsewhere=chunks is not None
        )
        if chunks is not None:
            response = replace(response, chunks=chunks)
        interaction = Interaction(
            request,
            response,
            recorded_at,
            upstream=self._settings.upstream,
            model=model_of_chunks(response.chunks),
            kind=kind,
        )
        row = NewRecording(
            record.key,
            record.position,
            record.order,
            interaction,
            left_open or self._scope.has_failed,
            record.call,
            renews=record.key in session.renewed,
        )
        if not session.closed:  # else `add_recording` raises, and nothing would merge the journal
            row = self._append_to_journal(session, row)
        session.add_recording(row, replaces=replaces)
        if self.budget is not None and not replaces:
            self.run.state_of(RecordBudget).add_tokens(count_tokens(row.interaction))

    def store_part(self, session: Session, record: RecordDecision, response: RecordedResponse, number: int) -> None:
        """Append to the journal the messages of a conversation since its last part. ``number`` counts parts from 1."""
        if session.closed or session.needs_whole_answers:
            return
        response = session.redactor.redact_response(response, record.numbers)
        interaction = Interaction(record.request, response, _now(), upstream=self._settings.upstream, kind="websocket")
        row = NewRecording(record.key, record.position, record.order, interaction, True, record.call, part=number)
        self._append_to_journal(session, row)

    def begin_large_answer(
        self, session: Session, record: RecordDecision, chunks: Sequence[RecordedChunk], *, is_stream: bool
    ) -> LargeAnswer:
        """Begin to write an answer to disk while it arrives. Raises ``CassetteWriteError``."""
        with self.counting_failures():
            body = self._journal.open_body()
        redactor = session.redactor.redact_large_answer(is_stream=is_stream, numbers=record.numbers)
        return LargeAnswer(body, redactor, chunks)

    def must_note(self, replay: ReplayDecision) -> bool:
        """Whether the owner of the scope must hear of a play here: it would drop an unused recording."""
        return not (self._scope.is_owner or replay.fault)

    def note_play(self, session: Session, replay: ReplayDecision) -> None:
        """Tell the owner of the scope, through the journal, of a play in this process."""
        self._append_to_journal(session, replay.played)

    def _append_to_journal(self, session: Session, row: AnyRow) -> AnyRow:
        """Append a row to the journal. Return the row, which refers to files for its large bodies."""
        try:
            if isinstance(row, NewRecording) and surely_has_large_bodies(row.interaction):
                row = replace(row, interaction=self._journal.move_bodies_out(row.interaction))
            entry = JournalEntry(session.name, session.mode, self._settings.record_errors, session.rules, row)
            self._journal.append_entry(entry)
        except _UNSTORED as error:
            self._count_failure(error)
            raise
        return row

    def close(self, *, passed: bool, adds_only: bool = False) -> StoredRecordings:
        """Merge the journals of all processes of the scope, if this one owns it. Others leave their journals to it."""
        try:
            stored = StoredRecordings()
            if self._scope.is_owner:
                with self.counting_failures():
                    stored = self._merge_journals(passed=passed, adds_only=adds_only)
            if self._failed_end is not None:
                raise self._failed_end
            return stored
        finally:
            # After the merge: as long as the journal is open and locked, no other run takes it for abandoned.
            self._journal.close()
            remove_unused_work_folder(self._root)

    def discard(self) -> None:
        """Store nothing of what all processes of the scope recorded. Only for the owner."""
        try:
            for path in self._find_journals_of_others():
                journal.discard_journal(path, merged=journal.size_of(path))
            self._journal.remove_file()
        finally:
            self._journal.close()
            remove_unused_work_folder(self._root)

    def _find_journals_of_others(self) -> list[Path]:
        mine = self._journal.path
        return [path for path in journal.find_journals_of(self._root, self._scope.id) if path != mine]

    def _merge_journals(self, *, passed: bool, adds_only: bool) -> StoredRecordings:
        """Store what this process and all others of the scope recorded, and remove the journals that are stored."""
        owned = self._scope.default_cassette if self._scope.owns_cassette else None
        changes: dict[str, list[tuple[Changes, MatchRules]]] = defaultdict(list)
        others = {path: journal.size_of(path) for path in self._find_journals_of_others()}
        foreign, unread = read_journals(others)
        for session in self._scope.sessions.opened():
            name, mode = session.name, session.mode
            if mode == "replay":
                continue
            record_errors = self._settings.record_errors
            own = session.compute_changes(
                record_errors=record_errors,
                drop_unused=name == owned and not self._scope.keeps_unused,
                elsewhere=foreign.pop((name, mode, record_errors, session.rules), ()),
            )
            used_elsewhere = {row.slot for group, rows in foreign.items() if group[0] == name for row in rows}
            # Another process may have played what this session did not: that is not unused.
            used = own.touched_slots() | used_elsewhere
            # A scope that failed after fewer requests than there are recordings was perhaps going to make the others.
            is_whole = passed or len(used) >= len(session.cassette.interactions)
            drop = own.drop - used_elsewhere if is_whole and self._may_drop(session, own) else frozenset[Slot]()
            own = replace(own, drop=drop)
            changes[name].append((own, session.rules))
        clean = late_secrets.redact_groups(foreign, self._settings.keep_headers) if foreign else {}
        for name, rows in changes_by_cassette(clean).items():
            put_aside = drifted_conversations.keys_put_aside(name)
            if put_aside and name not in changes:  # only other processes have used the cassette
                rows[0] = replace(rows[0][0], drop_keys=put_aside), rows[0][1]
            changes[name] += rows
        # Described before they are stored, because storing moves the files of large bodies.
        made = [row for rows in changes.values() for change, _ in rows for row in change.recorded]
        answers = tuple(describe_recorded(row.interaction) for row in made)
        if adds_only:
            stored, failed = store_additions(changes, self._root, owned=owned)
        else:
            if not passed:
                changes = {
                    name: [(each.without_left_open(), rules) for each, rules in rows] for name, rows in changes.items()
                }
            stored, failed = store_changes(changes, self._root, passed=passed, owned=owned)
        if not failed:
            for path, size in others.items():
                if all(path != failure.path for failure in unread):
                    journal.discard_journal(path, merged=size)
            self._journal.remove_file()
        raise_failures([*unread, *failed], self._root)
        return stored._replace(cassettes=tuple(changes), answers=answers)

    def _may_drop(self, session: Session, changes: Changes) -> bool:
        """Whether recordings that a session did not use may be dropped. ``changes`` are those of the session.

        Whether a program makes a request may be chance: replays answer at once, so if several requests race, the losers
        may not even be sent. So a session that only replays drops nothing, unless the settings demand that every
        recording is played.
        """
        only_replays = bool(changes.used) and not changes.recorded
        is_meant = session.records_everything or self._scope.drops_unused or self._settings.unplayed != "ignore"
        return is_meant or not only_replays


def _now() -> str:
    # Without `strftime` and `gmtime`, which tests replace.
    return f"{utc_time(unix_seconds()).replace(tzinfo=None).isoformat(timespec='seconds')}Z"
