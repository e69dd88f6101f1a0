"""Merges what interrupted runs left in their journals, and tells what waits there."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from aquila.cassettes.matching.request_key import without_origin
from aquila.cassettes.model import RecordedRequest
from aquila.cassettes.redaction.request_headers import can_be_named
from aquila.cassettes.storage import file_replacement, journal
from aquila.cassettes.storage.merging import NewRecording
from aquila.cassettes.storage.names import WORK_FOLDER, candidate_paths, cassette_path
from aquila.cassettes.storage.recording_slots import RecordingPlayed, is_failure
from aquila.cassettes.storage.work_folder import remove_unused_work_folder
from aquila.errors import AquilaError, CassetteWriteError
from aquila.plurals import count_of
from aquila.recording.secrets import late_secrets
from aquila.recording.storing.journal_merging import (
    JournalGroup,
    add_to_cassette,
    changes_by_cassette,
    read_journals,
)
from aquila.recording.storing.pending_files import shown_path
from aquila.recording.storing.storage_failures import StorageFailure, list_failures
from aquila.shell_words import quote_word

if TYPE_CHECKING:
    from aquila.cassettes.matching.miss_message import Explanation
    from aquila.recording.scope import Scope
    from aquila.recording.sessions.session import Session
    from aquila.recording.sessions.session_decisions import MissedRequest

_Rows: TypeAlias = Sequence[NewRecording | RecordingPlayed]


class RecoveryResult(NamedTuple):
    """What became of the journals of interrupted runs.

    ``cassettes`` are those that got recordings, each with their number. ``failures`` are sentences about what could not
    be merged; its journals stay.
    """

    cassettes: list[tuple[Path, int]]
    failures: list[str]


def find_waiting_recordings(root: Path, interrupted: Iterable[str] = ()) -> list[tuple[str, int]]:
    """Return which cassettes have recordings waiting in journals: their names, each with a number of recordings.

    These are the journals of ended processes, and those of scopes of this process that were ``interrupted`` (their
    ids), because nothing else merges them.
    """
    waiting = Counter(name for name, _ in _recordings_in_journals(root, interrupted))
    return sorted(waiting.items())


def _recordings_in_journals(root: Path, interrupted: Iterable[str] = ()) -> Iterator[tuple[str, NewRecording]]:
    """Yield the recordings that ``find_waiting_recordings`` counts, each with the name of its cassette."""
    # If only child processes of an interrupted scope have recorded, it is among the abandoned ones too.
    left = journal.find_abandoned_journals(root) | {each: journal.find_journals_of(root, each) for each in interrupted}
    for paths in left.values():
        groups, _ = read_journals(paths, keep_damaged=False)
        for (name, *_), rows in _without_open_endings(groups).items():
            yield from ((name, row) for row in rows if isinstance(row, NewRecording))


class LeftRequests:
    """The requests that interrupted runs had recorded before this run, read once for each cassette folder."""

    def __init__(self) -> None:
        self._by_folder: dict[Path, dict[str, list[tuple[RecordedRequest, int]]]] = {}

    def of_cassette(self, root: Path, name: str) -> list[tuple[RecordedRequest, int]]:
        """Return the requests for a cassette in the folder ``root``, each with its position among equal ones, from 0.

        Raises ``OSError`` where that folder cannot be read.
        """
        if root not in self._by_folder:
            found: dict[str, list[tuple[RecordedRequest, int]]] = defaultdict(list)
            for cassette, row in _recordings_in_journals(root):
                found[cassette].append((row.interaction.request, row.position))
            self._by_folder[root] = found  # two threads at once find the same, so there is no lock
        return self._by_folder[root].get(name, [])


def mention_interrupted(explained: Explanation, scope: Scope, session: Session, missed: MissedRequest) -> Explanation:
    """Add to the explanation of a miss what an interrupted run has left for its cassette, if it has left anything."""
    root = scope.settings.cassette_root()
    if not os.path.isdir(root / WORK_FOLDER):
        return explained
    with suppress(OSError, AquilaError):  # the explanation of the miss is needed all the same
        left = scope.run.state_of(LeftRequests).of_cassette(root, session.name)
        if left:
            key = session.key_of(missed.request)
            keys = {session.key_of(request) for request, position in left if position >= missed.recording_count}
            answers = key in keys or (without_origin(key) in map(without_origin, keys) and missed.takes_other_origins())
            usual = scope.run.layers.resolve().cassette_root()
            elsewhere = "" if usual == root else f" --dir {quote_word(str(shown_path(root)))}"
            if len(left) == 1:
                told, them = f"which {'answers' if answers else 'does not answer'} this request", "it"
            else:
                told, them = f"{'one' if answers else 'none'} of which answers this request", "them"
            text = (
                f"\n\nAn interrupted run has left {count_of(len(left), 'recording')} for this cassette, {told}.\n"
                f"To store {them}:\n\n"
                f"  aquila cassettes accept{elsewhere}"
            )
            return replace(explained, text=explained.text + session.redactor.redact_text(text))
    return explained


def is_anything_left(root: Path) -> bool:
    """Whether journals of ended processes hold recordings, or damaged entries of which a merge would tell."""
    for paths in journal.find_abandoned_journals(root).values():
        groups, failures = read_journals(paths, keep_damaged=False)
        rows = [row for group in _without_open_endings(groups).values() for row in group]
        if failures or any(map(journal.is_damaged, paths)) or any(isinstance(row, NewRecording) for row in rows):
            return True
    return False


def recover_journals(root: Path, *, new_as: str = ".yaml") -> RecoveryResult:
    """Merge what interrupted runs left in their journals into the cassettes of the folder ``root``.

    ``new_as`` is the suffix of cassettes that do not exist yet. No recording of a cassette is replaced: where an
    interrupted run was recording anew, its recordings go to the pending file of the cassette. What fails is named and
    stays where it is; the rest is merged. Answers that were over only because of the interruption are left out (see
    ``_without_open_endings``). All recordings are redacted again with the secrets that are known here.
    """
    recovered = RecoveryResult([], [])
    journal.remove_stray_bodies(root)
    file_replacement.remove_half_written_files(root)
    for path, why in journal.find_what_is_no_journal(root):
        recovered.failures.append(f"{path} is no journal, and stays as it is: {why}. Delete it.")
    for paths in journal.find_abandoned_journals(root).values():
        groups, failures = read_journals(paths)
        damaged = [failure for failure in failures if failure.path.suffix == journal.DAMAGED]
        failures = [failure for failure in failures if failure not in damaged]
        left = {failure.path for failure in failures}
        for name, rows in _by_cassette(_without_open_endings(groups)).items():
            path = root / name
            try:
                path = _path_for(root, name, new_as)
                changes = changes_by_cassette(_redact_again(rows))[name]
                count = sum(len(change.recorded) for change, _ in changes)
                for change, rules in changes if count else ():
                    add_to_cassette(path, change, rules, root)
            except Exception as error:  # noqa: BLE001 - one cassette must not stop a run, whatever is wrong with it
                failures.append(StorageFailure(path, error))
                left.update(paths)  # merging them again later changes nothing for the cassettes that took theirs
            else:
                recovered.cassettes.extend([(path, count)] if count else [])
        for journal_path in paths:
            if journal_path not in left:
                try:
                    journal.discard_journal(journal_path)
                except CassetteWriteError as error:
                    recovered.failures.append(str(error))
        recovered.failures.extend([f"{failure}." for failure in damaged])
        if failures:
            kept = " ".join(sorted(map(str, left)))
            recovered.failures.append(
                f"recordings of an interrupted run were not taken over: {list_failures(failures)} "
                f"They stay in {kept}. Try again with: aquila cassettes accept. To give them up, delete that file."
            )
    remove_unused_work_folder(root)
    return recovered


def _path_for(root: Path, name: str, new_as: str) -> Path:
    """Return the file of a cassette. A new file of a name without suffix gets the suffix ``new_as``."""
    possible = candidate_paths(root, name)
    if len(possible) == 1 or any(path.exists() for path in possible):
        return cassette_path(root, name)
    return next((path for path in possible if path.suffix == new_as), possible[0])


def _without_open_endings(
    groups: Mapping[JournalGroup, _Rows],
) -> dict[JournalGroup, _Rows]:
    """Leave out answers that may be as they are only because their test was interrupted.

    These are answers that were not read to their end: even one that was closed in order may have been closed because of
    the interruption. A conversation over a WebSocket stays, because each of its turns is whole. These are also failures
    that no whole answer followed: the client may have been waiting to try again, and would get the same failure in
    every later run.
    """
    return {group: list(_without_open_ending(rows)) for group, rows in groups.items()}


def _without_open_ending(rows: _Rows) -> Iterable[NewRecording | RecordingPlayed]:
    rows = [row for row in rows if not was_cut(row)]
    last = {row.key: row for row in rows if isinstance(row, NewRecording)}
    for row in rows:
        end = last.get(row.key)
        if end is None or not is_failure(end.interaction.response) or not _is_of_same_call(row, end):
            yield row


def _is_of_same_call(row: NewRecording | RecordingPlayed, end: NewRecording) -> bool:
    """Whether ``row`` is ``end``, or a failure that the same call of a client got before it tried again."""
    return row is end or (isinstance(row, NewRecording) and row.call != "" and row.call == end.call)


def _by_cassette(groups: Mapping[JournalGroup, _Rows]) -> dict[str, dict[JournalGroup, _Rows]]:
    cassettes: dict[str, dict[JournalGroup, _Rows]] = defaultdict(dict)
    for group, rows in groups.items():
        cassettes[group[0]][group] = rows
    return cassettes


def _redact_again(groups: Mapping[JournalGroup, _Rows]) -> Mapping[JournalGroup, _Rows]:
    """Redact with the secrets that are known now. A killed run did not get to the redaction at its end."""
    made = [row.interaction for rows in groups.values() for row in rows if isinstance(row, NewRecording)]
    # The settings of the killed run are not known here. Fields that it has kept are kept again.
    kept = {name for each in made for message in (each.request, each.response) for name, _ in message.headers}
    return late_secrets.redact_groups(groups, tuple(sorted(filter(can_be_named, kept))))


def was_cut(row: NewRecording | RecordingPlayed) -> bool:
    """Whether a row of an interrupted test is not kept, because its answer was not read to the end."""
    if not isinstance(row, NewRecording) or not row.interaction.response.was_left:
        return False
    return row.interaction.kind == "http" or not row.interaction.response.chunks
