"""How many requests a run may record, and how many tokens they may take: counted together with all its processes.

The count is in a file that the run of the tests has made, so that the workers of pytest-xdist and child processes share
it. Where there is none, this process counts alone. A request is counted before it is sent, so the number of requests is
never exceeded; tokens are counted when an answer has ended, so what is under way is finished.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from aquila.fork_locks import renewed_in_child
from aquila.lazy_imports import lazy_modules

if TYPE_CHECKING:
    import filelock

    from aquila.option_table import Budget
else:
    lazy_modules(globals(), filelock="filelock")


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
    rows = zip(spent, budget, ("requests", "tokens"), strict=True)
    return " and ".join([f"{used:,} of {limit:,} {what}" for used, limit, what in rows if limit is not None])


class RecordBudget:
    """The count of one run. ``path`` is the file of the count; None if this process counts alone."""

    def __init__(self) -> None:
        self.path: str | None = None
        self.is_exhausted = False
        """Whether a request of this process was refused."""
        # For the threads of this process; the file lock is for other processes. The run owns this object.
        self._lock = renewed_in_child(threading.Lock())
        self._alone = Spent(0, 0)  # the count where there is no file

    def take_request(self, budget: Budget) -> Spent | None:
        """Count a request that is to be sent. Return what is spent if it may not be, else None."""
        with self._changing() as counted:
            spent = counted[0]
            if spent.exhausts(budget):
                self.is_exhausted = True
                return spent
            counted[0] = spent._replace(requests=spent.requests + 1)
        return None

    def add_tokens(self, count: int) -> None:
        """Count the tokens of an answer."""
        if count:
            with self._changing() as counted:
                counted[0] = counted[0]._replace(tokens=counted[0].tokens + count)

    def spent(self) -> Spent:
        """Return what is spent so far."""
        with self._changing() as counted:
            return counted[0]

    @contextlib.contextmanager
    def _changing(self) -> Iterator[list[Spent]]:
        """Yield the count in a list of one, and store what is in it then."""
        with self._lock:
            if self.path is None:
                counted = [self._alone]
                yield counted
                self._alone = counted[0]
                return
            with filelock.FileLock(self.path + ".lock"):
                file = Path(self.path)
                before = Spent(*json.loads(file.read_text())) if file.exists() else Spent(0, 0)
                counted = [before]
                yield counted
                if counted[0] != before:
                    # In one step: if this process were killed between emptying the file and writing it, every later
                    # count of the run would fail. One name is enough, because whoever writes holds the lock.
                    written = Path(self.path + ".new")
                    written.write_text(json.dumps(counted[0]))
                    written.replace(file)
