"""The decisions of a review, kept on disk until they are applied, so that they survive the process.

Each cassette has its own file in the work folder, which is replaced as a whole after each decision. A review holds a
lock in each of its cassette folders.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias, get_args

from aquila.cassettes.storage.cassette_lock import hold_named_lock
from aquila.cassettes.storage.file_replacement import replace_file
from aquila.cassettes.storage.names import WORK_FOLDER
from aquila.cassettes.storage.regular_files import read_regular
from aquila.cassettes.storage.work_folder import cassette_write_error, work_folder
from aquila.errors import CassetteError
from aquila.lazy_imports import lazy_modules

if TYPE_CHECKING:
    import filelock
else:
    lazy_modules(globals(), "filelock")

Choice: TypeAlias = Literal["accept", "reject", "skip"]

_VERSION = 1
_LARGEST = 16 * 1024 * 1024
_LOCK = "review.lock"
_SUFFIX = ".review.json"


class Decision(NamedTuple):
    """A decision about one proposal. Decisions with the same ``step`` were made together, and are undone together."""

    step: int
    proposal: str
    choice: Choice


def file_beside(pending: Path, root: Path, suffix: str) -> Path:
    """Return the file in the work folder of the cassette folder ``root`` that says more about a pending file."""
    name = hashlib.sha256(os.fsencode(pending.relative_to(root).as_posix())).hexdigest()[:16]
    return root / WORK_FOLDER / f"{name}{suffix}"


@dataclass(frozen=True, slots=True)
class DecisionFile:
    """The file with the decisions about one pending file. ``root`` is the cassette folder of both."""

    pending: Path
    root: Path

    @property
    def path(self) -> Path:
        """The file that holds the decisions; it need not exist."""
        return file_beside(self.pending, self.root, _SUFFIX)

    def read(self) -> list[Decision]:
        """Return the decisions in order.

        A file that cannot be read counts as empty, and its questions are asked again.
        """
        # All errors of a missing, damaged or foreign file. `ValueError` includes those of JSON and of its encoding.
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            stored = json.loads(read_regular(self.path, most=_LARGEST))
            if stored["version"] == _VERSION:
                rows = [Decision(int(step), str(proposal), choice) for step, proposal, choice in stored["decisions"]]
                return [row for row in rows if row.choice in get_args(Choice)]
        return []

    def write(self, decisions: Sequence[Decision]) -> None:
        """Replace all decisions by these. Raises ``CassetteWriteError``."""
        try:
            if not decisions:
                self.path.unlink(missing_ok=True)
                return
            work_folder(self.root)
            place = self.pending.relative_to(self.root).as_posix()
            replace_file(
                self.path, json.dumps({"version": _VERSION, "pending": place, "decisions": decisions}).encode()
            )
        except OSError as error:
            raise cassette_write_error(self.path, error) from error


def forget_gone(roots: Iterable[Path]) -> None:
    """Delete the decisions about pending files that do not exist any more."""
    for root in set(roots):
        for path in (root / WORK_FOLDER).glob(f"*{_SUFFIX}"):
            # A file that cannot be read may be another program's, so it stays.
            with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
                if not (root / json.loads(read_regular(path, most=_LARGEST))["pending"]).exists():
                    path.unlink()


@contextlib.contextmanager
def hold_reviews(roots: Iterable[Path], *, intent: str = "") -> Iterator[None]:
    """Hold the review locks of some cassette folders for a block, so that nobody else reviews there.

    ``intent``: the action that fails if somebody does, such as ``accepted``, for the message. Raises ``CassetteError``,
    which names who reviews, and ``CassetteWriteError`` for a folder that cannot be written.
    """
    with contextlib.ExitStack() as stack:
        # In one order for all, so that two reviews of the same folders cannot each hold a lock that the other needs.
        for root in sorted(set(roots)):
            stack.enter_context(_hold_review(root, f"nothing was {intent}: " if intent else ""))
        yield


def _hold_review(root: Path, lead: str) -> contextlib.AbstractContextManager[None]:
    def acquire(lock: filelock.FileLock, name_holder: Callable[[], str]) -> None:
        try:
            lock.acquire(blocking=False)
        except filelock.Timeout:
            raise CassetteError(
                f"{lead}{name_holder()} reviews or changes the cassettes in {root}. Wait for it, or finish or end its "
                "review first. The decisions are kept, and aquila cassettes review continues with them"
            ) from None

    return hold_named_lock(root, _LOCK, acquire)
