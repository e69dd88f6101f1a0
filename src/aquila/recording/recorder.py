"""Record: append each finished interaction to a journal, and merge all of them into the cassettes at the end."""

from __future__ import annotations

import contextlib
import datetime
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

from aquila.cassettes.body_file import StoredChunks, StoredRequest
from aquila.cassettes.codecs.answer_summary import model_of_answer
from aquila.cassettes.matching.request_key import MatchRules
from aquila.cassettes.model import Cassette, Interaction, RecordedChunk, RecordedRequest, RecordedResponse
from aquila.cassettes.storage import cassette_files, journal
from aquila.cassettes.storage.merging import (
    Changes,
    NewRecording,
    RecordingPlayed,
    drop_retried_failures,
    merge_changes,
)
from aquila.cassettes.storage.names import candidate_paths, cassette_path
from aquila.errors import AquilaError, CassetteCorrupt, CassetteWriteError, reason_of
from aquila.recording import redactors, runtime, session_factory
from aquila.recording.large_answer import LargeAnswer
from aquila.recording.reports import StoredRecordings
from aquila.recording.session import RecordDecision, ReplayDecision, Session

if TYPE_CHECKING:
    from aquila.recording.scope import Scope

MODEL_WITHIN = 64 * 1024
"""Bytes of a large answer in which the name of its model is looked for."""

_Group: TypeAlias = tuple[str, str, str, MatchRules]
"""Cassette, mode, ``record_errors`` and rules of a session."""


class StorageFailure(NamedTuple):
    """A journal that could not be read, or a cassette that could not be written."""

    path: Path
    error: Exception

    def __str__(self) -> str:
        reason = reason_of(self.error)
        return reason if str(self.path) in reason else f"{self.path}: {reason}"


class RecoveryResult(NamedTuple):
    """What became of the journals of killed runs.

    ``cassettes`` are those that took recordings over, each with the number of recordings it took. ``failures`` says
    what could not be taken over; its journals stay.
    """

    cassettes: list[tuple[Path, int]]
    failures: list[str]


class UnfinishedRecording(Protocol):
    """A recording whose answer is still arriving."""

    def abandon(self, *, left_open: bool) -> None:
        """End it as left by the caller. ``left_open`` is that of ``NewRecording``."""


class ScopeRecording:
    """The recording side of a scope in this process."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._settings = scope.settings
        self._root = self._settings.cassette_root()
        self._journal = journal.Journal(self._root, scope.id, durable=self._settings.durable == "fsync")
        # Strong references: an answer that its caller dropped without closing must still be stored, as closed early.
        self._unfinished: set[UnfinishedRecording] = set()

    def open_journal(self) -> None:
        """Open the journal, so that what is asked for can be stored. Raises ``CassetteWriteError``."""
        with self.counting_failures():
            self._journal.open()

    @contextlib.contextmanager
    def counting_failures(self) -> Iterator[None]:
        """Let the run know what could not be written: the program that gets the error may swallow it."""
        try:
            yield
        except (CassetteWriteError, CassetteCorrupt) as error:
            if str(error) not in self._scope.run.unstored:
                self._scope.run.unstored.append(str(error))
            raise

    def track_unfinished(self, unfinished: UnfinishedRecording) -> None:
        """Remember a recording in progress: its ``abandon`` ends it if the scope closes first."""
        self._unfinished.add(unfinished)

    def forget_unfinished(self, unfinished: UnfinishedRecording) -> None:
        """Forget a recording that has ended."""
        self._unfinished.discard(unfinished)

    def abandon_unfinished(self) -> None:
        """End every recording in progress."""
        for unfinished in list(self._unfinished):
            unfinished.abandon(left_open=True)

    def store_interaction(
        self, session: Session, record: RecordDecision, response: RecordedResponse, *, left_open: bool = False
    ) -> None:
        """Store a finished interaction: into the journal first, then into the session.

        ``left_open`` is that of ``NewRecording``.
        """
        # What is written in a file already was redacted on its way.
        chunks = response.chunks if isinstance(response.chunks, StoredChunks) else None
        if chunks is not None:
            response = replace(response, chunks=())
        now = datetime.datetime.now(datetime.UTC).replace(microsecond=0, tzinfo=None)
        response = session.redactor.redact_response(response)
        beginning = response.body if chunks is None else chunks.file.first_bytes(MODEL_WITHIN)
        if chunks is not None:
            response = replace(response, chunks=chunks)
        interaction = Interaction(
            record.request,
            response,
            f"{now.isoformat()}Z",
            upstream=self._settings.upstream,
            model=model_of_answer(beginning),
        )
        if not session.closed:
            with self.counting_failures():
                interaction = self._journal.move_bodies_out(interaction)
        row = NewRecording(
            record.key, record.position, record.order, interaction, left_open or self._scope.has_failed, record.call
        )
        if (
            not session.closed
        ):  # a closed session refuses it: `add_recording` raises, and nobody would merge the journal
            self._append_to_journal(session, row)
        session.add_recording(row)

    def begin_large_answer(self, session: Session, chunks: Sequence[RecordedChunk], *, is_stream: bool) -> LargeAnswer:
        """Begin to write an answer to disk while it arrives. Raises ``CassetteWriteError``."""
        with self.counting_failures():
            body = self._journal.open_body()
        return LargeAnswer(body, session.redactor.redact_large_answer(is_stream=is_stream), chunks)

    def note_play(self, session: Session, replay: ReplayDecision) -> None:
        """Tell the process that owns the scope of a play: it would drop a recording that looks unused."""
        if not self._scope.is_owner:
            self._append_to_journal(session, replay.played)

    def _append_to_journal(self, session: Session, row: NewRecording | RecordingPlayed) -> None:
        entry = journal.JournalEntry(session.name, session.mode, self._settings.record_errors, session.rules, row)
        with self.counting_failures():
            self._journal.append_entry(entry)

    def close(self, *, passed: bool, adds_only: bool = False) -> StoredRecordings:
        """Merge what all processes of the scope recorded. Only the owner stores; others leave their journals to it."""
        try:
            if not self._scope.is_owner:
                return StoredRecordings()
            with self.counting_failures():
                return self._merge_journals(passed=passed, adds_only=adds_only)
        finally:
            self._journal.close()  # only now: until it is merged, no other run may take it for abandoned

    def _merge_journals(self, *, passed: bool, adds_only: bool) -> StoredRecordings:
        """Store what this process and all others of the scope recorded, and remove the journals that are stored."""
        owned = self._scope.default_cassette if self._scope.owns_cassette else None
        changes: dict[str, list[tuple[Changes, MatchRules]]] = defaultdict(list)
        mine = f"{self._scope.id}.{os.getpid()}.journal"
        others = [path for path in journal.find_journals_of(self._root, self._scope.id) if path.name != mine]
        foreign, unread = _read_journals(others)
        for session in self._scope.sessions.opened():
            name, mode = session.name, session.mode
            if mode == "replay":
                continue
            record_errors = self._settings.record_errors
            own = session.compute_changes(
                record_errors=record_errors,
                drop_unused=name == owned,
                elsewhere=foreign.pop((name, mode, record_errors, session.rules), ()),
            )
            used_elsewhere = {row.slot for group, rows in foreign.items() if group[0] == name for row in rows}
            # Another process may have played what this session did not: that is not unused.
            own = replace(own, drop=own.drop - used_elsewhere)
            changes[name].append((own, session.rules))
        for name, rows in _changes_by_cassette(foreign).items():
            changes[name] += rows
        if adds_only:
            stored, failed = _store_additions(changes, self._root)
        else:
            if not passed:
                changes = {
                    name: [(each.without_left_open(), rules) for each, rules in rows] for name, rows in changes.items()
                }
            stored, failed = _store_changes(changes, self._root, passed=passed, owned=owned)
        if not failed:
            for path in others:
                if all(path != failure.path for failure in unread):
                    journal.discard_journal(path)
            self._journal.remove_file()
        _raise_failures([*unread, *failed], self._root)
        return stored


def find_waiting_recordings(root: Path) -> list[tuple[str, int]]:
    """Return what the journals of ended processes hold: the names of cassettes, each with a number of recordings."""
    waiting: Counter[str] = Counter()
    for paths in journal.find_abandoned_journals(root).values():
        groups, _ = _read_journals(paths, keep_damaged=False)
        for (name, *_), rows in groups.items():
            waiting[name] += sum(isinstance(row, NewRecording) for row in rows)
    return sorted((name, count) for name, count in waiting.items() if count)


def recover_journals(root: Path, *, new_as: str = ".yaml") -> RecoveryResult:
    """Merge what killed runs left in their journals. ``new_as`` is the suffix of cassettes that do not exist yet.

    Nothing that a cassette holds is replaced: where a killed run was recording anew, its recordings are kept in the
    cassette's pending file. What fails is named and left where it is, and the rest is taken over. An answer that
    nobody read to its end is not: nothing says that it was the program that left it.
    """
    recovered = RecoveryResult([], [])
    journal.remove_stray_bodies(root)
    cassette_files.remove_half_written_files(root)
    for paths in journal.find_abandoned_journals(root).values():
        groups, failures = _read_journals(paths)
        damaged = [failure for failure in failures if failure.path.suffix == journal.DAMAGED]
        failures = [failure for failure in failures if failure not in damaged]
        left = {failure.path for failure in failures}
        for name, rows in _changes_by_cassette(_without_left_answers(groups)).items():
            path = root / name
            try:
                path = _path_for(root, name, new_as)
                count = _add_recordings(path, rows, root)
            except Exception as error:  # noqa: BLE001 - one cassette must not stop a run, whatever is wrong with it
                failures.append(StorageFailure(path, error))
                left.update(paths)  # merging them again later changes nothing for the cassettes that took theirs
            else:
                recovered.cassettes.extend([(path, count)] if count else [])
        for journal_path in paths:
            if journal_path not in left:
                journal.discard_journal(journal_path)
        recovered.failures.extend([f"{failure}." for failure in damaged])
        if failures:
            kept = " ".join(sorted(map(str, left)))
            recovered.failures.append(
                f"recordings of an interrupted run were not taken over: {_list_failures(failures)} "
                f"They stay in {kept}. Try again with: aquila cassettes accept. To give them up, delete that file."
            )
    return recovered


def _path_for(root: Path, name: str, new_as: str) -> Path:
    """Return the file of a cassette; where none exists and the name has no suffix, one with the suffix ``new_as``."""
    possible = candidate_paths(root, name)
    if len(possible) == 1 or any(path.exists() for path in possible):
        return cassette_path(root, name)
    return next((path for path in possible if path.suffix == new_as), possible[0])


def _without_left_answers(
    groups: Mapping[_Group, Sequence[NewRecording | RecordingPlayed]],
) -> dict[_Group, list[NewRecording | RecordingPlayed]]:
    """Leave out the answers that were not read to their end.

    The test was interrupted, so even one that was closed in good order may have been closed because of that: by a
    thread that was told to stop, say.
    """
    return {
        group: [row for row in rows if not (isinstance(row, NewRecording) and row.interaction.response.was_left)]
        for group, rows in groups.items()
    }


def _add_recordings(path: Path, rows: Sequence[tuple[Changes, MatchRules]], root: Path) -> int:
    """Add recordings to a cassette; return their number."""
    count = sum(len(change.recorded) for change, _ in rows)
    for change, rules in rows if count else ():
        adding = Changes(change.recorded, change.used)
        stored = _update_cassette(path, _make_merge(adding, rules), root=root)
        if change.replace:
            _keep_pending(path, stored, [(change, rules)], root)
    return count


def _list_failures(failures: Sequence[StorageFailure]) -> str:
    return " ".join([f"{str(failure).rstrip('.')}." for failure in failures])


def _raise_failures(failures: Sequence[StorageFailure], root: Path) -> None:
    """Raise one error for all failures, if there are any. A single error of Aquila's own is raised as it is."""
    if not failures:
        return
    first = failures[0].error
    if len(failures) == 1 and isinstance(first, AquilaError):
        raise first
    raise CassetteWriteError(
        f"not all that was recorded could be stored: {_list_failures(failures)} It stays in "
        f"{root / cassette_files.WORK_FOLDER}, and the next recording run tries again."
    ) from first


def _update_cassette(path: Path, change: Callable[[Cassette], Cassette], *, root: Path) -> Cassette:
    return cassette_files.update_cassette(path, change, root=root, tell=runtime.current_run().tell)


def _read_journals(
    journals: Iterable[Path], *, keep_damaged: bool = True
) -> tuple[dict[_Group, list[NewRecording | RecordingPlayed]], list[StorageFailure]]:
    """Read journals, and group their rows: processes that counted together are merged together.

    A journal that cannot be read is skipped whole. A damaged entry costs only itself: its bytes are kept and named.
    """
    rows: dict[_Group, list[NewRecording | RecordingPlayed]] = defaultdict(list)
    failures: list[StorageFailure] = []
    for path in journals:
        try:
            entries = list(journal.read_entries(path))
            damaged = journal.keep_damaged_entries(path) if keep_damaged else None
        except Exception as error:  # noqa: BLE001 - one journal must not keep the others from being stored
            failures.append(StorageFailure(path, error))
            continue
        if damaged is not None:
            failures.append(StorageFailure(damaged, CassetteCorrupt(_describe_damage(path, damaged, len(entries)))))
        for entry in entries:
            rows[entry.cassette, entry.mode, entry.record_errors, entry.rules].append(entry.row)
    return rows, failures


def _describe_damage(path: Path, damaged: Path, count: int) -> str:
    return (
        f"{path} was damaged or cut off: {count} entries of it are whole and are taken over. The damaged bytes are "
        f"kept in {damaged}; what they held must be recorded again with: pytest --aquila-record. Then delete that file"
    )


def _changes_by_cassette(
    groups: Mapping[_Group, Sequence[NewRecording | RecordingPlayed]],
) -> dict[str, list[tuple[Changes, MatchRules]]]:
    """Return how the rows of journals change each cassette."""
    changes: dict[str, list[tuple[Changes, MatchRules]]] = defaultdict(list)
    for (name, mode, record_errors, rules), entries in groups.items():
        recordings = [r for r in entries if isinstance(r, NewRecording)]
        recorded = drop_retried_failures(recordings, record_errors=record_errors, whole=mode == "all")
        used = tuple(r for r in entries if isinstance(r, RecordingPlayed))
        changes[name].append((Changes(tuple(recorded), used, replace=mode == "all"), rules))
    return changes


def _store_changes(
    changes: dict[str, list[tuple[Changes, MatchRules]]], root: Path, *, passed: bool, owned: str | None
) -> tuple[StoredRecordings, list[StorageFailure]]:
    """Store what was recorded for each cassette. One that fails does not keep the others from being stored."""
    failures: list[StorageFailure] = []
    written: list[Path] = []
    pending: list[Path] = []
    count = 0
    for name, all_rows in changes.items():
        rows = [(change, rules) for change, rules in all_rows if change]
        if not rows:
            continue
        path = cassette_path(root, name)
        recorded = sum(len(change.recorded) for change, _ in rows)
        try:
            if passed:
                for change, rules in rows:
                    _update_cassette(path, _make_merge(change, rules), root=root)
                if name == owned:
                    cassette_files.remove_cassette(cassette_files.pending_path(path))
                written.append(path)
                count += recorded
            elif recorded:
                stored = cassette_files.load_cassette_or_empty(path)
                pending.append(_keep_pending(path, stored, rows, root, anew=name == owned))
        except Exception as error:  # noqa: BLE001 - the caller tells, when the other cassettes are stored
            failures.append(StorageFailure(path, error))
    return StoredRecordings(count, tuple(written), tuple(pending)), failures


def _store_additions(
    changes: dict[str, list[tuple[Changes, MatchRules]]], root: Path
) -> tuple[StoredRecordings, list[StorageFailure]]:
    """Add to each cassette what it does not have, and keep beside it what would replace a recording."""
    failures: list[StorageFailure] = []
    written: list[Path] = []
    pending: list[Path] = []
    count = 0
    for name, rows in changes.items():
        path = cassette_path(root, name)
        for change, rules in rows if any(change.recorded for change, _ in rows) else ():
            try:
                has_rival = change.replace and bool(cassette_files.load_cassette_or_empty(path).interactions)
                adding = Changes(change.recorded, change.used)
                stored = _update_cassette(path, _make_merge(adding, rules), root=root)
                if has_rival:
                    pending.append(_keep_pending(path, stored, [(replace(change, drop=frozenset()), rules)], root))
            except Exception as error:  # noqa: BLE001 - the caller tells, when the other cassettes are stored
                failures.append(StorageFailure(path, error))
            else:
                written.append(path)
                count += len(change.recorded)
    return StoredRecordings(count, tuple(dict.fromkeys(written)), tuple(dict.fromkeys(pending))), failures


def _keep_pending(
    path: Path, stored: Cassette, rows: Sequence[tuple[Changes, MatchRules]], root: Path, *, anew: bool = False
) -> Path:
    """Write what ``stored`` would become to the pending file.

    Several failing tests may share a cassette: what is kept there already stays, unless ``anew``.
    """

    def change(kept: Cassette) -> Cassette:
        result = kept if kept.interactions and not anew else stored
        for changes, rules in rows:
            result = _make_merge(replace(changes, replace=True), rules)(result)
        return result

    beside = cassette_files.pending_path(path)
    _update_cassette(beside, change, root=root)
    return beside


def _make_merge(changes: Changes, rules: MatchRules) -> Callable[[Cassette], Cassette]:
    """Return the change of a cassette that merges ``changes``, with keys computed as those of the recordings were."""
    redactor = redactors.redactor_for(rules)
    identify = session_factory.request_identifier(rules)

    def key_of_stored(request: RecordedRequest) -> str:
        # A body in a file was redacted when it was written, as in `Session.key_of`.
        return identify(request if isinstance(request, StoredRequest) else redactor.redact_request(request))

    return lambda stored: merge_changes(stored, changes, key_of_stored)
