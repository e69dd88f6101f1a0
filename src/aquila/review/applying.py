"""Writes the decisions of a review into a cassette, and what is undecided into its pending file; and takes it back.

A note of both contents is written first, then the cassette, then its pending file. With the note, the next review takes
back what a killed one has begun to write, and ``take_back`` what the last one has written.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from aquila.cassettes.matching.match_rules import MatchRules
from aquila.cassettes.model import Cassette, RecordedRequest
from aquila.cassettes.storage import cassette_files, file_replacement, large_bodies
from aquila.cassettes.storage.cassette_lock import hold_cassette_locks
from aquila.cassettes.storage.names import WORK_FOLDER
from aquila.cassettes.storage.regular_files import read_regular
from aquila.cassettes.storage.work_folder import cassette_write_error, work_folder
from aquila.errors import AquilaError, CassetteError, CassetteWriteError, reason_of
from aquila.recording.storing.journal_merging import redact_foreign
from aquila.review.alignment import choose_versions, digest_interaction
from aquila.review.kept_decisions import DecisionFile, file_beside
from aquila.review.proposals import VersionComparison, compare_versions
from aquila.shell_words import join_words, quote_word

_BEFORE = ".before.json"
_UNFINISHED = ".unfinished.json"
"""The suffixes of a note: while the files are being written, and afterwards."""


class ChangedMeanwhile(Exception):
    """A cassette or its pending file has changed since it was reviewed."""


@dataclass(frozen=True, slots=True)
class Applied:
    """The result for one cassette: how many proposals were accepted and rejected, and how many are left."""

    accepted: int
    rejected: int
    left: int


def apply_choices(
    pending: Path,
    root: Path,
    choices: Mapping[str, bool],
    key_of: Callable[[RecordedRequest], str],
    rules: MatchRules,
    *,
    name: str,
) -> Applied:
    """Accept (True) and reject (False) proposals of a pending file, by their ids; the others keep waiting.

    Raises ``ChangedMeanwhile`` if one of them is not proposed any more, and ``CassetteError`` for a file that cannot be
    read or written. All files are then unchanged.
    """
    path = cassette_files.cassette_of_pending(pending)
    note = file_beside(pending, root, _UNFINISHED)
    decided: list[tuple[Cassette, Applied]] = []

    def change(stored: Cassette) -> Cassette:
        found = compare_versions(stored, waiting, key_of, rules, name=name)
        after, later, applied = _decide(found, stored, waiting, choices, key_of)
        if after != stored:  # what waits is compared with the new file
            after, later = (redact_foreign(path, each, rules) for each in (after, later))
        _write_note(note, root, [(path, before[path], after), (pending, before[pending], later)])
        decided.append((later, applied))
        return after

    def change_pending(now: Cassette) -> Cassette:
        # Another program wrote it without its lock, so the decisions may be about other recordings.
        if now != waiting:
            raise ChangedMeanwhile(f"{pending} was recorded again")
        return decided[0][0]

    with hold_cassette_locks((path, pending), root):
        before = {file: _read(file) for file in (path, pending)}
        waiting = _load(pending)
        try:
            cassette_files.change_held_cassette(path, change, root=root, advise=advise_msgpack(path, pending, root))
            cassette_files.change_held_cassette(pending, change_pending, root=root)
        except Exception as error:
            _revert(path, pending, before[path], error)
            _forget(note)
            raise
        with contextlib.suppress(AquilaError):  # a decision file that is left has no effect: its questions are gone
            DecisionFile(pending, root).write([])
        with contextlib.suppress(OSError):
            note.replace(file_beside(pending, root, _BEFORE))
        applied = decided[0][1]
        if applied.left:
            with contextlib.suppress(OSError):
                os.utime(pending)  # a pending file that is older than its cassette would count as out of date
    return applied


def _revert(path: Path, pending: Path, before: bytes | None, error: Exception) -> None:
    """Restore a cassette whose pending file could not be written. If that fails, too, the note stays."""
    try:
        if _read(path) != before:
            _put_back(path, before)
    except OSError:
        raise CassetteWriteError(
            f"{path} was written, but its pending file {pending} was not: {reason_of(error)}. "
            "Run aquila cassettes review when both can be written again: it takes this back"
        ) from error


def _decide(
    found: VersionComparison,
    stored: Cassette,
    waiting: Cassette,
    choices: Mapping[str, bool],
    key_of: Callable[[RecordedRequest], str],
) -> tuple[Cassette, Cassette, Applied]:
    known = {each.id for each in found.proposals}
    if not choices.keys() <= known:
        raise ChangedMeanwhile("the proposals have changed since the review")
    takes_new: dict[Any, bool | None] = dict.fromkeys(found.rows, True)  # rows without a proposal are equal in both
    takes_new |= {each.row: choices.get(each.id) for each in found.proposals}
    after, later = choose_versions(stored, waiting, found.rows, takes_new, key_of)
    accepted = sum(choices.values())
    applied = Applied(accepted, len(choices) - accepted, len(known) - len(choices))
    # A different order alone is not proposed, so without open proposals the pending file is removed.
    return after if accepted else stored, later if applied.left else Cassette(), applied


def _load(pending: Path) -> Cassette:
    try:
        waiting = cassette_files.load_cassette(pending)
    except FileNotFoundError:
        raise ChangedMeanwhile(f"{pending} does not exist any more") from None
    large_bodies.check_bodies(waiting)
    return waiting


def advise_msgpack(path: Path, pending: Path, root: Path, *, verb: str = "review") -> Callable[[Path], str]:
    """Return a function that advises on a cassette that is too large for its format. ``verb``: the failed command."""

    def advise(_: Path) -> str:
        files = join_words([str(file) for file in (path, pending) if file.exists()])
        name = path.with_suffix(".msgpack").relative_to(root).as_posix()
        return (
            f"Nothing was changed. Convert them to msgpack, which has no limit, and then {verb} them: "
            f"aquila cassettes convert {files} --to msgpack --replace; aquila cassettes {verb} {quote_word(name)}"
        )

    return advise


# --- taking it back


def _read(path: Path) -> bytes | None:
    try:
        return read_regular(path, follow=True)
    except FileNotFoundError:
        return None


def _write_note(note: Path, root: Path, files: Iterable[tuple[Path, bytes | None, Cassette]]) -> None:
    """Note for each file its content before, None if it does not exist, and what it becomes. Raises ``OSError``."""
    rows = [
        {
            "file": path.relative_to(root).as_posix(),
            "before": None if data is None else base64.b64encode(data).decode(),
            "now": _digest(now),
        }
        for path, data, now in files
    ]
    work_folder(root)
    file_replacement.replace_file(note, json.dumps(rows).encode())


def _digest(cassette: Cassette) -> str:
    """Return a digest of a cassette's recordings and their order."""
    return hashlib.sha256(" ".join(map(digest_interaction, cassette.interactions)).encode()).hexdigest()


def _forget(note: Path) -> None:
    with contextlib.suppress(OSError):  # one that stays is harmless: the files are checked for changes
        note.unlink(missing_ok=True)


def forget_before(roots: Sequence[Path]) -> None:
    """Delete the earlier versions of files in these cassette folders, so that no earlier review can be taken back."""
    for root in roots:
        for note in _find_notes(root, _BEFORE):
            _forget(note)


def _find_notes(root: Path, suffix: str) -> list[Path]:
    return sorted((root / WORK_FOLDER).glob(f"*{suffix}"))


def _put_back(path: Path, before: bytes | None) -> None:
    """Restore a file's content, or delete it if it did not exist. Raises ``OSError``."""
    if before is None:
        path.unlink(missing_ok=True)
    else:
        file_replacement.replace_file(path.resolve(), before)


class _KeptFile(NamedTuple):
    """A file, its content ``before`` a review (None if it did not exist), and the digest of what it became."""

    path: Path
    before: bytes | None
    now: str

    def is_written(self) -> bool:
        """Whether the review has written the file, and nothing has changed it since."""
        try:
            return _digest(cassette_files.load_cassette_or_empty(self.path)) == self.now
        except AquilaError:
            return False


def _read_note(note: Path, root: Path) -> list[_KeptFile]:
    """Return the files of a note.

    Empty for an unreadable note, and for one with a path that is no cassette of the folder: a stranger wrote it.
    """
    # These are all errors of reading and decoding a file that may be damaged or foreign.
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        rows = [
            _KeptFile(
                root / row["file"], None if row["before"] is None else base64.b64decode(row["before"]), row["now"]
            )
            for row in json.loads(read_regular(note))
        ]
        if all(cassette_files.can_be_cassette(row.path, root) for row in rows):
            return rows
    return []


def take_back(root: Path) -> list[Path]:
    """Restore the files that the last review of a cassette folder wrote, and return their paths.

    Raises ``CassetteError`` if one of them has changed since. Nothing is restored then, unless it changes at this
    moment.
    """
    kept = {note: _read_note(note, root) for note in _find_notes(root, _BEFORE)}
    for row in [row for rows in kept.values() for row in rows]:
        _check_unchanged(row)
        _check_bodies(row.path, row.before)
    returned: list[Path] = []
    for note, rows in kept.items():
        _restore(note, rows, root, returned)
        returned += [row.path for row in rows]
    return returned


def undo_interrupted(roots: Iterable[Path]) -> None:
    """Restore the files that killed reviews have begun to write in these cassette folders, unless one has changed."""
    for root in set(roots):
        for note in _find_notes(root, _UNFINISHED):
            rows = _read_note(note, root)
            try:
                if rows and all(row.is_written() for row in rows):  # killed at the very end
                    DecisionFile(rows[-1].path, root).write([])
                    note.replace(note.with_name(note.name.replace(_UNFINISHED, _BEFORE)))
                else:
                    _restore(note, rows, root)
            except (CassetteWriteError, OSError):
                continue  # such as a full disk: the next review tries again
            except AquilaError:  # one has changed
                _forget(note)


def _restore(note: Path, rows: Sequence[_KeptFile], root: Path, returned: Sequence[Path] = ()) -> None:
    """Restore the files of a note. ``returned`` were restored before, for the message of an error."""
    with hold_cassette_locks([row.path for row in rows], root):
        for row in rows:  # under the locks, because a run may be writing
            _check_unchanged(row, returned)
        for row in rows:
            try:
                _put_back(row.path, row.before)
            except OSError as error:
                raise cassette_write_error(row.path, error) from error
        _forget(note)


def _check_unchanged(row: _KeptFile, returned: Sequence[Path] = ()) -> None:
    """Raise ``CassetteError`` for a file that has neither its content after the review nor that before it."""
    if _read(row.path) != row.before and not row.is_written():
        others = ", ".join(map(str, returned))
        so = f"it was not taken back; taken back were {others}" if returned else "nothing was taken back"
        raise CassetteError(f"{row.path} has changed since the last review, so {so}")


def _check_bodies(path: Path, before: bytes | None) -> None:
    """Raise ``CassetteError`` if the files of large bodies in the earlier version do not exist any more."""
    if before is not None:
        try:
            large_bodies.check_bodies(cassette_files.read_version(before, path, source=str(path)))
        except AquilaError as error:
            raise CassetteError(f"{path} cannot be taken back: {error}") from error
