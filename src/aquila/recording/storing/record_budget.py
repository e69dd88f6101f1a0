"""Limits how many requests a run records, and how many tokens these take. All processes of the run count together.

The count is in a file that the run of the tests makes, so that the workers of pytest-xdist and child processes share
it. Without that file, a process counts alone. A request is counted before it is sent, so there are never more requests
than allowed. Tokens are counted when an answer has ended, so answers that are arriving may exceed the limit.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from aquila.errors import CassetteWriteError, reason_of
from aquila.fork_locks import renewed_in_child
from aquila.lazy_imports import lazy_modules
from aquila.plurals import count_of

if TYPE_CHECKING:
    import filelock

    from aquila.option_parsing import Budget
else:
    lazy_modules(globals(), "filelock")


class Spent(NamedTuple):
    """What was recorded so far: requests and tokens."""

    requests: int
    tokens: int

    def exhausts(self, budget: Budget) -> bool:
        """Whether nothing more may be recorded."""
        requests, tokens = budget
        return (requests is not None and self.requests >= requests) or (tokens is not None and self.tokens >= tokens)


def describe_budget(budget: Budget, spent: Spent) -> str:
    """Say how much of a budget is spent: ``3 of 200 requests and 120 of 5,000 tokens``."""
    rows = zip(spent, budget, ("request", "token"), strict=True)
    return " and ".join([f"{used:,} of {count_of(limit, what)}" for used, limit, what in rows if limit is not None])


class RecordBudget:
    """The count of one run. ``path`` is the file of the count; None if this process counts alone."""

    def __init__(self) -> None:
        self.path: str | None = None
        self.is_exhausted = False
        """Whether a request of this process was refused."""
        # For the threads of this process; the file lock is for other processes. The run owns this object. Re-entrant,
        # because the garbage collector may end an answer in a thread that holds it.
        self._lock = renewed_in_child(threading.RLock())
        self._alone = Spent(0, 0)  # the count where there is no file
        self._is_changing = False  # whether the thread that holds the lock is in `_changing`
        self._uncounted: deque[int] = deque()  # tokens that the next change, or the current one, adds

    def take_request(self, budget: Budget) -> Spent | None:
        """Count a request that is to be sent. Return what is spent if it may not be, else None.

        Raises ``CassetteWriteError`` if the count cannot be stored; then the request must not be sent.
        """
        with self._changing() as counted:
            spent = counted[0]
            if spent.exhausts(budget):
                self.is_exhausted = True
                return spent
            counted[0] = spent._replace(requests=spent.requests + 1)
        return None

    def add_tokens(self, count: int) -> None:
        """Count the tokens of an answer. If the count cannot be stored, the next change adds them."""
        if not count:
            return
        self._uncounted.append(count)
        with self._lock:
            if not self._is_changing:  # else this thread was interrupted in a change, which will add them
                with contextlib.suppress(CassetteWriteError), self._changing():
                    pass

    def spent(self) -> Spent | None:
        """Return what is spent so far; None if the count cannot be read."""
        spent = None
        with contextlib.suppress(CassetteWriteError), self._changing() as counted:
            spent = counted[0]
        return spent

    @contextlib.contextmanager
    def _changing(self) -> Iterator[list[Spent]]:
        """Yield the count in a list of one. The block may replace it; it is stored when the block ends.

        Raises ``CassetteWriteError`` if the count cannot be read or stored.
        """
        with self._lock:
            self._is_changing = True
            try:
                yield from self._change()
            except OSError as error:
                raise CassetteWriteError(
                    f"cannot count in {self.path} what this run records: {reason_of(error)}. Free the disk, or set "
                    "TMPDIR to a folder that has space, or record without aquila_record_budget"
                ) from error
            finally:
                self._is_changing = False

    def _change(self) -> Iterator[list[Spent]]:
        if self.path is None:
            counted = [self._with_uncounted(self._alone)]
            yield counted
            self._alone = self._with_uncounted(counted[0])
        else:
            with filelock.FileLock(self.path + ".lock"):
                file = Path(self.path)
                before = Spent(*json.loads(file.read_text())) if file.exists() else Spent(0, 0)
                counted = [self._with_uncounted(before)]
                yield counted
                after = self._with_uncounted(counted[0])
                if after != before:
                    # Replaced in one step: if this process were killed after emptying the file and before writing it,
                    # every later count of the run would fail. The name is free, because the writer holds the lock.
                    written = Path(self.path + ".new")
                    try:
                        written.write_text(json.dumps(after))
                        written.replace(file)
                    except OSError:
                        self._uncounted.append(after.tokens - before.tokens)
                        raise

    def _with_uncounted(self, spent: Spent) -> Spent:
        while self._uncounted:
            spent = spent._replace(tokens=spent.tokens + self._uncounted.popleft())
        return spent
