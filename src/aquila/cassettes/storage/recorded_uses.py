"""The file ``@tests.jsonl`` of a cassette folder: which tests used which cassettes when they were last recorded.

A cassette that has the name of its test needs no line. Each other cassette has a line for each of its tests. The lines
are sorted, so that git shows and merges changes line by line. Lines that cannot be read, such as the marks of a git
conflict, are ignored.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import TypeAlias

from aquila.cassettes.storage.cassette_lock import hold_cassette_lock
from aquila.cassettes.storage.file_replacement import replace_file
from aquila.cassettes.storage.regular_files import read_regular
from aquila.cassettes.storage.work_folder import cassette_write_error

USES_FILE = "@tests.jsonl"
UNUSED_REPORT = "aquila: unused cassettes, version 1"
"""The mark by which a report of unused cassettes is recognised."""
_LARGEST = 64 * 1024 * 1024  # bytes; a larger file is not read

Use: TypeAlias = tuple[str, str]
"""The name of a cassette, and the id of a test, with a path relative to the root folder."""


def read_uses(root: Path) -> set[Use]:
    """Return the recorded uses of the cassettes below the folder ``root``. Empty if they cannot be read."""
    with contextlib.suppress(OSError):
        return _load_uses(root)
    return set()


def _load_uses(root: Path) -> set[Use]:
    """Do the same, and raise ``OSError`` if there is a file that cannot be read."""
    try:
        data = read_regular(root / USES_FILE, most=_LARGEST + 1, follow=True)
    except FileNotFoundError:
        return set()
    if len(data) > _LARGEST:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(root / USES_FILE))
    uses: set[Use] = set()
    # Not `splitlines`: a name may have a character, such as U+2028, at which that splits, too.
    for line in data.decode("utf-8", "replace").split("\n"):
        # The line is damaged or nested too deeply. The others can still be read.
        with contextlib.suppress(ValueError, RecursionError):
            match json.loads(line):
                case [str(cassette), str(test)]:
                    uses.add((cassette, test))
    return uses


def update_uses(root: Path, used: Mapping[str, Collection[str]], *, whole: Collection[str]) -> None:
    """Store which cassettes below ``root`` tests have used.

    ``used`` has the names of the cassettes by the id of the test. ``whole`` are the tests that ran to their end: their
    stored uses are replaced, those of other tests are extended. Raises ``CassetteWriteError``.
    """

    def change(known: set[Use]) -> Iterable[Use]:
        kept = {(cassette, test) for cassette, test in known if test not in whole}
        return kept | {(cassette, test) for test, cassettes in used.items() for cassette in cassettes}

    change_uses(root, change)


def change_uses(root: Path, change: Callable[[set[Use]], Iterable[Use]]) -> None:
    """Change the recorded uses below ``root`` under a lock. ``change`` gets the known ones and returns the new ones.

    Without uses the file is removed. A file that cannot be read is left as it is. Raises ``CassetteWriteError``.
    """
    path = root / USES_FILE
    try:
        # Read without the lock first, because most runs change nothing. Under the lock the file is read again.
        known = _load_uses(root)
        if not root.is_dir() or set(change(known)) == known:
            return
        with hold_cassette_lock(path, root):
            rows = sorted(set(change(_load_uses(root))))
            if rows:
                lines = "".join([json.dumps(row, ensure_ascii=False) + "\n" for row in rows])
                # A file name that is not UTF-8 has surrogates. This writes them as escapes of JSON.
                replace_file(path, lines.encode("utf-8", "backslashreplace"))
            else:
                path.unlink(missing_ok=True)
    except OSError as error:  # a full disk, or a file of another user
        raise cassette_write_error(path, error) from error
