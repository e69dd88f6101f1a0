"""The environment variables that this process sets, one after the other.

A test may set a key, make a client with it, and take it back before anything is asked. Whoever looks at the environment
only when there is something to redact never sees it.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from typing import TypeAlias

from aquila.config import CHANGED_BY_EVERY_TEST, DUMMY_KEY

Text: TypeAlias = "str | bytes | os.PathLike[str] | os.PathLike[bytes]"

_MOST = 10_000
"""So many are remembered, so that memory has a bound: each redactor looks at them whenever it has something to do."""

_LEFT_OUT = frozenset((*CHANGED_BY_EVERY_TEST, *map(os.fsencode, CHANGED_BY_EVERY_TEST)))
_DUMMY = os.fsencode(DUMMY_KEY)


class SetVariables:
    """What is set in ``os.environ`` while it is ``noting``, oldest first, but for dummy keys. Thread-safe.

    A position is how many came before.
    """

    def __init__(self) -> None:
        self._rows: list[tuple[Text, Text]] = []
        self._dropped = 0
        self._blocks = 0
        self._lock = threading.Lock()
        self._put: Callable[[Text, Text], None] = os.putenv
        self._note: Callable[[Text, Text], None] | None = None
        self._environment = os.environ

    @property
    def count(self) -> int:
        """The position behind the last one."""
        return self._dropped + len(self._rows)

    @contextlib.contextmanager
    def noting(self) -> Iterator[None]:
        """Note what is set until the block ends. What was noted stays."""
        with self._lock:
            self._blocks += 1
            if self._note is None:
                self._put, self._environment = os.putenv, os.environ
                self._note = os.putenv = self._make_note()  # which `os.environ` calls for each variable that is set
        try:
            yield
        finally:
            with self._lock:
                self._blocks -= 1
                if not self._blocks and os.putenv is self._note:  # else somebody else has put something around it
                    os.putenv, self._note = self._put, None

    def _make_note(self) -> Callable[[Text, Text], None]:
        put, rows, lock = self._put, self._rows, self._lock

        def putenv(name: Text, value: Text, /) -> None:
            put(name, value)
            # Every replayed test sets some dummies. One with a password before it is none.
            is_dummy = type(value) is bytes and value[-len(_DUMMY) :] == _DUMMY and b"@" not in value
            if name not in _LEFT_OUT and not is_dummy:
                rows.append((name, value))
            if len(rows) > _MOST:
                with lock:
                    dropped = len(rows) - _MOST // 2
                    if dropped > 0:
                        del rows[:dropped]
                        self._dropped += dropped

        return putenv

    def since(self, position: int) -> list[tuple[str, str]]:
        """Return the names and values that were set from a position on."""
        with self._lock:
            rows = self._rows[max(0, position - self._dropped) :]
        return [(os.fsdecode(name), os.fsdecode(value)) for name, value in rows]

    def has_another_environment(self) -> bool:
        """Whether a program has put something else in the place of ``os.environ``, which calls nothing."""
        return os.environ is not self._environment
