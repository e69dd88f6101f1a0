"""The file ``@tests.jsonl`` of a cassette folder: which tests used which cassettes when they were last recorded.

A cassette that has the name of its test needs no line. Each other cassette has a line for each of its tests. The lines
are sorted, so that git shows and merges changes line by line. Lines that cannot be read, such as the marks of a git
conflict, are ignored.
"""

from __future__ import annotations

import contextlib
import json
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
_LARGEST = 64 * 1024 * 1024  # bytes of the file that are read

Use: TypeAlias = tuple[str, str]
"""The name of a cassette, and the id of a test, with a path relative to the root folder."""


def read_uses(root: Path) -> set[Use]:
    """Return the recorded uses of the cassettes below the folder ``root``. Empty if there is no file."""
    uses: set[Use] = set()
    with contextlib.suppress(OSError):
        text = read_regular(root / USES_FILE, most=_LARGEST, follow=True).decode("utf-8", "replace")
        # Not `splitlines`: a name may have a character, such as U+2028, at which that splits, too.
        for line in text.split("\n"):
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

    if not any(used.values()) and not (root / USES_FILE).exists():
        return
    change_uses(root, change)


def change_uses(root: Path, change: Callable[[set[Use]], Iterable[Use]]) -> None:
    """Change the recorded uses below ``root`` under a lock. ``change`` gets the known ones and returns the new ones.

    Without uses the file is removed. Raises ``CassetteWriteError``.
    """
    path = root / USES_FILE
    # Read without the lock first, because most runs change nothing. Under the lock the file is read again.
    known = read_uses(root)
    if not root.is_dir() or set(change(known)) == known:
        return
    with hold_cassette_lock(path, root):
        rows = sorted(set(change(read_uses(root))))
        try:
            if rows:
                lines = "".join([json.dumps(row, ensure_ascii=False) + "\n" for row in rows])
                # A file name that is not UTF-8 has surrogates. This writes them as escapes of JSON.
                replace_file(path, lines.encode("utf-8", "backslashreplace"))
            else:
                path.unlink(missing_ok=True)
        except OSError as error:  # a full disk
            raise cassette_write_error(path, error) from error
