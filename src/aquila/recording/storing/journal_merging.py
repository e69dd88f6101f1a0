"""Merges journals into cassettes: at the end of a scope, and for the runs that were killed."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

from aquila.cassettes.body_file import StoredRequest
from aquila.cassettes.codecs.foreign import is_foreign
from aquila.cassettes.matching.match_rules import MatchRules
from aquila.cassettes.model import Cassette, RecordedRequest
from aquila.cassettes.redaction.request_headers import can_be_named
from aquila.cassettes.storage import cassette_files, journal
from aquila.cassettes.storage.journal_entries import JournalEntry
from aquila.cassettes.storage.merging import (
    Changes,
    NewRecording,
    drop_retried_failures,
    merge_changes,
    recordings_by_slot,
)
from aquila.cassettes.storage.names import cassette_path
from aquila.cassettes.storage.recording_slots import NO_ANSWER, RecordingPlayed, name_failure
from aquila.errors import CassetteCorrupt
from aquila.plurals import count_of
from aquila.recording import runtime
from aquila.recording.reporting.reports import StoredRecordings
from aquila.recording.secrets import redactors
from aquila.recording.sessions import known_keys, session_factory
from aquila.recording.sessions.session_decisions import EVERYTHING
from aquila.recording.storing.storage_failures import StorageFailure

JournalGroup: TypeAlias = tuple[str, str, str, MatchRules]
"""Cassette, mode, ``record_errors`` and rules of a session."""


def read_journals(
    journals: Iterable[Path], *, keep_damaged: bool = True
) -> tuple[dict[JournalGroup, list[NewRecording | RecordingPlayed]], list[StorageFailure]]:
    """Read journals, and group their rows by session, because processes that counted together are merged together.

    A journal that cannot be read is skipped. Of a damaged journal only the damaged entries are lost. With
    ``keep_damaged`` their bytes are kept in a file, which the failures name. Return the groups and the failures.
    """
    rows: dict[JournalGroup, list[NewRecording | RecordingPlayed]] = defaultdict(list)
    failures: list[StorageFailure] = []
    for path in journals:
        try:
            entries = join_parts(journal.read_entries(path))
            damaged = journal.keep_damaged_entries(path) if keep_damaged else None
        except Exception as error:  # noqa: BLE001 - one journal must not keep the others from being stored
            failures.append(StorageFailure(path, error))
            continue
        if damaged is not None:
            failures.append(StorageFailure(damaged, CassetteCorrupt(_describe_damage(path, damaged, len(entries)))))
        for entry in entries:
            row = entry.row
            if isinstance(row, NewRecording) and row.call:  # each process numbers its calls from 1
                row = replace(row, call=f"{path.stem}:{row.call}")
            rows[entry.cassette, entry.mode, entry.record_errors, entry.rules].append(row)
    return rows, failures


def join_parts(entries: Iterable[JournalEntry]) -> list[JournalEntry]:
    """Join the parts of unfinished conversations. A recording that was stored twice counts as it was stored last."""
    joined: dict[tuple[Any, ...], JournalEntry] = {}
    for number, entry in enumerate(entries):
        row = entry.row
        if not isinstance(row, NewRecording):
            joined[number,] = entry
            continue
        place = (entry.cassette, entry.mode, row.slot, row.order)
        before = joined.get(place)
        joined[place] = entry if before is None or not row.part else replace(entry, row=_join(before.row, row))
    return list(joined.values())


def _join(before: NewRecording | RecordingPlayed, part: NewRecording) -> NewRecording:
    if not isinstance(before, NewRecording):
        return part
    response = part.interaction.response
    response = replace(response, chunks=(*before.interaction.response.chunks, *response.chunks))
    return replace(part, interaction=replace(part.interaction, response=response))


def _describe_damage(path: Path, damaged: Path, count: int) -> str:
    return (
        f"{path} was damaged or cut off: its undamaged part, {count_of(count, 'row')}, is taken over. The damaged "
        f"bytes are kept in {damaged}; what they held must be recorded again with: pytest --aquila-record. Then delete "
        "that file"
    )


def changes_by_cassette(
    groups: Mapping[JournalGroup, Sequence[NewRecording | RecordingPlayed]],
) -> dict[str, list[tuple[Changes, MatchRules]]]:
    """Return how the rows of journals change each cassette."""
    changes: dict[str, list[tuple[Changes, MatchRules]]] = defaultdict(list)
    for (name, mode, record_errors, rules), entries in groups.items():
        recordings = [r for r in entries if isinstance(r, NewRecording)]
        recorded = drop_retried_failures(recordings, record_errors=record_errors, whole=mode in EVERYTHING)
        used = tuple(r for r in entries if isinstance(r, RecordingPlayed))
        change = Changes(tuple(recorded), used, replace=mode in EVERYTHING, for_review=mode == "pending")
        changes[name].append((change, rules))
    return changes


def store_changes(
    changes: dict[str, list[tuple[Changes, MatchRules]]], root: Path, *, passed: bool, owned: str | None
) -> tuple[StoredRecordings, list[StorageFailure]]:
    """Store what was recorded for each cassette, or keep it in pending files. Return what was stored, and the failures.

    ``passed`` says that the scope did; else everything goes to pending files. ``owned`` is the cassette that belongs to
    the scope alone. A cassette that fails does not keep the others from being stored.
    """
    failures: list[StorageFailure] = []
    written: list[Path] = []
    pending: list[Path] = []
    superseded: list[Path] = []
    count = 0
    for name, all_rows in changes.items():
        rows = sorted(((change, rules) for change, rules in all_rows if change), key=lambda row: row[0].for_review)
        if not rows:  # this run has recorded nothing, so a pending file stays as it is
            continue
        path = cassette_path(root, name)
        storing = [(change, rules) for change, rules in rows if passed and not change.for_review]
        keeping = [(_for_review(change, whole=passed), rules) for change, rules in rows[len(storing) :]]
        try:
            for change, rules in storing:
                merge_into(path, change, rules, root=root)
                count += len(change.recorded)
            if storing:
                written.append(path)
            # Requests of a failed test that got no answer at all are not worth a pending file.
            if any(_is_worth_keeping(change) for change, _ in keeping):
                stored = cassette_files.load_cassette_or_empty(path)
                pending.append(keep_pending(path, stored, keeping, root, anew=name == owned))
                count += sum(len(change.recorded) for change, _ in keeping if change.for_review)
            elif storing and (beside := cassette_files.pending_path(path)).exists():
                if name == owned:
                    cassette_files.remove_cassette(beside)
                else:
                    _drop_superseded(path, storing, root)
                superseded += [] if beside.exists() else [beside]
        except Exception as error:  # noqa: BLE001 - the caller raises it after the other cassettes are stored
            failures.append(StorageFailure(path, error))
    return StoredRecordings(count, tuple(written), tuple(pending), superseded=tuple(superseded)), failures


def store_additions(
    changes: dict[str, list[tuple[Changes, MatchRules]]], root: Path, *, owned: str | None
) -> tuple[StoredRecordings, list[StorageFailure]]:
    """Add to each cassette the recordings that it lacks; those that would replace one go to its pending file.

    The parameters and the result are as in ``store_changes``.
    """
    failures: list[StorageFailure] = []
    written: list[Path] = []
    pending: list[Path] = []
    count = 0
    for name, rows in changes.items():
        path = cassette_path(root, name)
        for change, rules in rows if any(change.recorded for change, _ in rows) else ():
            try:
                added, files = add_to_cassette(path, change, rules, root, anew=name == owned)
            except Exception as error:  # noqa: BLE001 - the caller raises it after the other cassettes are stored
                failures.append(StorageFailure(path, error))
            else:
                count += added
                written += [file for file in files if file == path]
                pending += [file for file in files if file != path]
    return StoredRecordings(count, tuple(dict.fromkeys(written)), tuple(dict.fromkeys(pending))), failures


def add_to_cassette(
    path: Path, change: Changes, rules: MatchRules, root: Path, *, anew: bool = False
) -> tuple[int, list[Path]]:
    """Do what ``store_additions`` does for one change of a cassette; return the number of recordings and the files.

    ``anew`` is as in ``keep_pending``, for a change that is for review.
    """
    before = cassette_files.load_cassette_or_empty(path)
    if change.for_review:
        beside = [(_for_review(change, whole=False), rules)]
        return len(change.recorded), [keep_pending(path, before, beside, root, anew=anew)]
    has_rival = bool(change.drop_keys) or replaces_any(change, rules, before)
    # A conversation without its beginning, which would replace a recording, could never be replayed.
    adding = Changes() if change.drop_keys else change.as_additions()
    stored = merge_into(path, adding, rules, root=root) if adding else before
    files = [path] if adding else []
    if has_rival:
        files.append(keep_pending(path, stored, [(replace(change, drop=frozenset()), rules)], root))
    return len(adding.recorded), files


def replaces_any(change: Changes, rules: MatchRules, stored: Cassette) -> bool:
    """Whether a new recording would replace one of a cassette."""
    slots = {row.slot for row in change.recorded if change.replace or row.renews}
    return bool(slots) and not slots.isdisjoint(recordings_by_slot(stored, change.key_of_stored or stored_key(rules)))


def _is_worth_keeping(change: Changes) -> bool:
    return any(change.for_review or name_failure(row.interaction.response) != NO_ANSWER for row in change.recorded)


def _for_review(change: Changes, *, whole: bool) -> Changes:
    """Return ``change``, without the recordings to drop if it is for review and the scope was not run ``whole``.

    A scope that was cut short may not have made all requests that it makes.
    """
    return replace(change, drop=frozenset()) if change.for_review and not whole else change


def keep_pending(
    path: Path, stored: Cassette, rows: Sequence[tuple[Changes, MatchRules]], root: Path, *, anew: bool = False
) -> Path:
    """Write to the pending file what the cassette would become, and return the path of that file.

    ``path`` is the cassette, and ``stored`` its content. What the pending file holds already stays, unless ``anew``:
    several failing tests may share a cassette.
    """

    def change(kept: Cassette) -> Cassette:
        result = kept if kept.interactions and not anew else stored
        if result is kept and path.exists() and path.stat().st_mtime_ns >= beside.stat().st_mtime_ns:
            # The pending file becomes newer than the cassette, and will replace it. So add what the cassette got since,
            # unless it is only git that has written the cassette.
            result = add_later(stored, kept, stored_key(rows[0][1]))
        return _replace_in(result, rows)

    beside = cassette_files.pending_path(path)
    _update_cassette(beside, change, root=root)
    return beside


def _drop_superseded(path: Path, rows: Sequence[tuple[Changes, MatchRules]], root: Path) -> None:
    """Replace what a pending file holds for requests that a passing scope has recorded by these new recordings.

    The rest of the file stays. The file is removed if the cassette then holds all of it.
    """

    def change(kept: Cassette) -> Cassette:
        stored = cassette_files.load_cassette_or_empty(path)  # under the lock: other processes store in it, too
        result = _replace_in(add_later(kept, stored, stored_key(rows[0][1])), rows)
        return result if any(one not in stored.interactions for one in result.interactions) else Cassette()

    _update_cassette(cassette_files.pending_path(path), change, root=root)


def _replace_in(cassette: Cassette, rows: Sequence[tuple[Changes, MatchRules]]) -> Cassette:
    for changes, rules in rows:
        cassette = make_merge(replace(changes, replace=True), rules)(cassette)
    return cassette


def add_later(cassette: Cassette, other: Cassette, key_of: Callable[[RecordedRequest], str]) -> Cassette:
    """Return ``cassette`` with those recordings of ``other`` that it lacks, and those that are later than its own.

    ``key_of`` is that of ``stored_key``.
    """
    own = recordings_by_slot(cassette, key_of)
    added = tuple(
        [
            NewRecording(*slot, order, one, renews=slot in own and one.recorded > own[slot].recorded)
            for order, (slot, one) in enumerate(recordings_by_slot(other, key_of).items())
        ]
    )
    return merge_changes(cassette, Changes(added), key_of)


def make_merge(changes: Changes, rules: MatchRules) -> Callable[[Cassette], Cassette]:
    """Return a function that merges ``changes`` into a cassette. It computes keys as those of the recordings were."""
    if changes.key_of_stored is not None:
        return functools.partial(merge_changes, changes=changes, key=changes.key_of_stored)
    key_of_stored = stored_key(rules)
    return lambda stored: merge_changes(stored, changes, key_of_stored)


def stored_key(rules: MatchRules, keep_headers: tuple[str, ...] = ()) -> Callable[[RecordedRequest], str]:
    """Return a function that computes the key of a recorded request. ``keep_headers`` is the setting of that name."""
    redactor = redactors.redactor_for(rules, keep_headers)
    identify = session_factory.request_identifier(rules)

    def key_of_stored(request: RecordedRequest) -> str:
        # A body in a file was redacted when it was written, as in `Session.key_of`.
        return identify(request if isinstance(request, StoredRequest) else redactor.redact_request(request))

    return known_keys.despite_lost_bodies(known_keys.remembering_keys(key_of_stored, redactor, rules))


def merge_into(path: Path, changes: Changes, rules: MatchRules, *, root: Path) -> Cassette:
    """Merge ``changes`` into the cassette in a file, and return what is stored now."""
    merge = make_merge(changes, rules)

    def change(stored: Cassette) -> Cassette:
        after = merge(stored)
        return after if after == stored else redact_foreign(path, after, rules)

    return _update_cassette(path, change, root=root)


def redact_foreign(path: Path, cassette: Cassette, rules: MatchRules) -> Cassette:
    """Return what takes the place of a file, without secrets if another recorder wrote the file.

    It may hold secrets, and as a cassette of Aquila it would not be searched for them again. Its other header fields
    stay, because matchers may compare them, and tests read them.
    """
    if not (path.exists() and is_foreign(path, path.read_bytes())):
        return cassette
    parts = (part for one in cassette.interactions for part in (one.request, one.response))
    names = {name for part in parts for name, _ in part.headers}
    redactor = redactors.redactor_for(rules, tuple(sorted(filter(can_be_named, names))))
    return Cassette.from_interactions(map(redactor.redact_interaction, cassette.interactions))


def _update_cassette(path: Path, change: Callable[[Cassette], Cassette], *, root: Path) -> Cassette:
    return cassette_files.update_cassette(path, change, root=root, tell=runtime.current_run().tell)
