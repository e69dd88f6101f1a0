"""A note of the new contents of two files, written before either, so that the next review can finish a killed one.

The half-written state alone does not tell which recordings were decided, because recordings may be equal.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from aquila.cassettes.model import Cassette
from aquila.cassettes.storage import cassette_files, file_replacement
from aquila.cassettes.storage.names import WORK_FOLDER
from aquila.cassettes.storage.regular_files import read_regular
from aquila.cassettes.storage.work_folder import work_folder
from aquila.errors import AquilaError
from aquila.review.alignment import digest_interaction
from aquila.review.kept_decisions import DecisionFile, file_beside

_SUFFIX = ".review-note.json"


def write_note(pending: Path, root: Path, after: Cassette, waiting: Cassette, later: Cassette) -> None:
    """Note that a cassette becomes ``after``, and that its pending file, now ``waiting``, becomes ``later``.

    Each recording of ``later`` must be in one of the others. Raises ``OSError`` or ``CassetteWriteError``.
    """
    places = {id(one): ["after", number] for number, one in enumerate(after.interactions)}
    places |= {id(one): ["waiting", number] for number, one in enumerate(waiting.interactions)}
    note = {
        "pending": pending.relative_to(root).as_posix(),
        "after": digest_cassette(after),
        "waiting": digest_cassette(waiting),
        "later": [places[id(one)] for one in later.interactions],
        "digest": digest_cassette(later),
    }
    work_folder(root)
    file_replacement.replace_file(_note_of(pending, root), json.dumps(note).encode())


def forget_note(pending: Path, root: Path) -> None:
    """Delete the note, because both files are written."""
    with contextlib.suppress(OSError):  # a note that stays is harmless: `_finish` compares it with the files
        _note_of(pending, root).unlink(missing_ok=True)


def _note_of(pending: Path, root: Path) -> Path:
    return file_beside(pending, root, _SUFFIX)


def digest_cassette(cassette: Cassette) -> str:
    """Return a digest of a cassette's recordings and their order."""
    return hashlib.sha256(" ".join(map(digest_interaction, cassette.interactions)).encode()).hexdigest()


def finish_interrupted(roots: Iterable[Path]) -> None:
    """Finish what killed reviews have begun in these cassette folders, unless the files have changed since."""
    for root in set(roots):
        for place in sorted((root / WORK_FOLDER).glob(f"*{_SUFFIX}")):
            with contextlib.suppress(AquilaError, OSError, ValueError, TypeError, LookupError):
                _finish(root, json.loads(read_regular(place)))
            with contextlib.suppress(OSError):
                place.unlink()


def _finish(root: Path, note: dict[str, Any]) -> None:
    pending = root / note["pending"]
    after = cassette_files.load_cassette_or_empty(cassette_files.cassette_of_pending(pending))
    waiting = cassette_files.load_cassette_or_empty(pending)
    if digest_cassette(after) != note["after"] or digest_cassette(waiting) not in (note["waiting"], note["digest"]):
        return  # the cassette was not written, or a run has recorded since: the questions are asked again
    if digest_cassette(waiting) != note["digest"]:
        sides = {"after": after.interactions, "waiting": waiting.interactions}
        later = Cassette.from_interactions(sides[side][number] for side, number in note["later"])
        cassette_files.update_cassette(pending, lambda now: later if now == waiting else now, root=root)
    DecisionFile(pending, root).write([])
