"""The file ``@tests.jsonl`` of a cassette folder: which tests used which cassettes when they were last recorded.

A cassette that has the name of its test needs no line. The others have a line for each test. The lines are sorted, so
that git shows and merges changes line by line. Lines that cannot be read, such as those of a conflict, are ignored.
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
from aquila.cassettes.storage.work_folder import cassette_write_error, remove_unused_work_folder

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
            # A line that is damaged, or nested too deeply. Each line stands alone, so the others are still read.
            with contextlib.suppress(ValueError, RecursionError):
                match json.loads(line):
                    case [str(cassette), str(test)]:
                        uses.add((cassette, test))
    return uses


def update_uses(root: Path, used: Mapping[str, Collection[str]], *, whole: Collection[str]) -> None:
    """Store which cassettes below ``root`` tests have used. ``used`` has the names of cassettes by test.

    ``whole`` are the tests that ran to their end: what is stored of them is replaced, and not extended. Raises
    ``CassetteWriteError``.
    """

    def change(known: set[Use]) -> Iterable[Use]:
        kept = {(cassette, test) for cassette, test in known if test not in whole}
        return kept | {(cassette, test) for test, cassettes in used.items() for cassette in cassettes}

    if not any(used.values()) and not (root / USES_FILE).exists():
        return
    change_uses(root, change)


def change_uses(root: Path, change: Callable[[set[Use]], Iterable[Use]]) -> None:
    """Change the file under its lock. Without a line it is removed. Raises ``CassetteWriteError``."""
    path = root / USES_FILE
    # Without the lock first, because most runs change nothing; under the lock the file is read again.
    known = read_uses(root)
    if not root.is_dir() or set(change(known)) == known:
        return
    with hold_cassette_lock(path, root):
        rows = sorted(set(change(read_uses(root))))
        try:
            if rows:
                lines = "".join([json.dumps(row, ensure_ascii=False) + "\n" for row in rows])
                # Names of files that are not UTF-8 have surrogates, which are so written as the escapes of JSON.
                replace_file(path, lines.encode("utf-8", "backslashreplace"))
            else:
                path.unlink(missing_ok=True)
        except OSError as error:  # a full disk
            raise cassette_write_error(path, error) from error
    remove_unused_work_folder(root)
