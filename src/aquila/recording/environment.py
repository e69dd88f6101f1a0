"""The environment of this process: reading it fast, setting Aquila's own variables, and noting what programs set.

``os.environ`` encodes each name and decodes each value at each access. For every test and every request that would take
long, so these functions read the mapping that ``os.environ`` wraps.

``SetVariables`` is for redactors. A test may set a key, create a client with it, and unset it before any request is
made: a redactor that looked at the environment only when there is something to redact would never see the key.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping

from aquila.fork_locks import held_at_fork
from aquila.lazy_imports import lazy_modules

# `os` holds on to an object of this module until the interpreter has ended; see `aquila.lazy_imports`.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    from aquila.cassettes.redaction import environment_secrets

    Text: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]
else:
    lazy_modules(globals(), "aquila.cassettes.redaction: environment_secrets")

DUMMY_KEY = "aquila-no-key"
"""The API key that clients get where no real key is needed. Not a secret."""
_DUMMY = os.fsencode(DUMMY_KEY)

_OURS = "AQUILA_"

CHANGED_BY_EVERY_TEST = ("PYTEST_CURRENT_TEST", "AQUILA_RUN", "AQUILA_QUEUES")
"""Variables that change with each test of a run. None of them holds a setting of a client, or a secret
of the user; `AQUILA_RUN` has the key of the run itself."""
_LEFT_OUT = frozenset(map(os.fsencode, CHANGED_BY_EVERY_TEST))


def _stored_environment() -> Mapping[Any, Any]:
    """Return the environment as ``os.environ`` stores it."""
    # `_data` is private to `os.environ`, here and in the functions below. Where it is missing or no dict, as under some
    # test tools, `os.environ` itself is used, which is only slower.
    inner = getattr(os.environ, "_data", None)
    return inner if isinstance(inner, dict) else os.environ


def _stored_names(variables: Mapping[Any, Any], names: tuple[str, ...]) -> tuple[str | bytes, ...]:
    """Return names in the form of the keys of ``variables``: bytes on POSIX, capital letters on Windows."""
    return _encode(names) if isinstance(next(iter(variables), ""), bytes) else tuple(map(str.upper, names))


# By the texts alone, so no entry goes out of date. They are few: variables that have a meaning, and dummy values.
@functools.lru_cache(maxsize=64)
def _encode(texts: tuple[str, ...]) -> tuple[bytes, ...]:
    encoded = {text: os.fsencode(text) for text in dict.fromkeys(texts)}  # dummy values are nearly all the same
    return tuple(map(encoded.__getitem__, texts))


_set_of = functools.lru_cache(maxsize=16)(frozenset[str | bytes])


def find_missing_variables(names: Iterable[str]) -> list[str]:
    """Return those of the named environment variables that are not set."""
    variables, wanted = _stored_environment(), tuple(names)
    stored = _stored_names(variables, wanted)
    if variables.keys() >= _set_of(stored):  # the fast path, which almost every test takes
        return []
    return [name for name, own in zip(wanted, stored, strict=True) if own not in variables]


def is_variable_set(name: str) -> bool:
    """Whether an environment variable is set. ``os.environ`` encodes the name again each time that it is asked."""
    variables = _stored_environment()
    return _stored_names(variables, (name,))[0] in variables


def find_own_variables() -> list[str]:
    """Return the names of the environment variables that say what Aquila does: those that begin with ``AQUILA_``."""
    names = tuple(_stored_environment())  # copied in one step, because another thread may change it
    start: Any = os.fsencode(_OURS) if names and isinstance(names[0], bytes) else _OURS
    return [os.fsdecode(name) for name in names if name.startswith(start)]


def read_environment() -> dict[str, str]:
    """Return the environment as it is now.

    The result is that of ``dict(os.environ)``, which decodes names and values one by one and takes ten times as long.
    """
    variables = dict(_stored_environment())  # copied in one step, because another thread may change the environment
    if not isinstance(next(iter(variables), ""), bytes):
        return dict(os.environ)
    # No variable of POSIX can contain a NUL byte, so joining with it loses nothing and decodes everything at once.
    names, values = (os.fsdecode(b"\0".join(part)).split("\0") for part in (variables.keys(), variables.values()))
    return dict(zip(names, values, strict=True))


def copy_environment_without(names: tuple[str, ...]) -> dict[Any, Any]:
    """Return a copy of the environment without some variables, only for comparing it with a later copy.

    The keys and values are in the form in which ``os.environ`` stores them, so they must not be read.
    """
    copy = dict(_stored_environment())
    for name in _stored_names(copy, names):
        copy.pop(name, None)
    return copy


_put_stored = getattr(sys.modules.get(os.name), "putenv", None)
_unset_stored = getattr(sys.modules.get(os.name), "unsetenv", None)


def set_own_variables(values: Mapping[str, str]) -> None:
    """Set variables of Aquila's own, such as dummy keys. ``SetVariables`` does not note them.

    Every test sets these, so names and values are not encoded again each time, as ``os.environ`` would do.
    """
    inner = getattr(os.environ, "_data", None)
    if type(inner) is not dict or sys.platform == "win32" or _put_stored is None:
        os.environ.update(values)
        return
    # A single value is the one for child processes: long and new for each test, so the cache is no use.
    encoded = _encode(tuple(values.values())) if len(values) > 1 else map(os.fsencode, values.values())
    for name, value in zip(_encode(tuple(values)), encoded, strict=True):
        _put_stored(name, value)
        inner[name] = value


def read_variables(names: Iterable[str]) -> list[str | None]:
    """Return the values of some variables, None for one that is not set."""
    inner = getattr(os.environ, "_data", None)
    if type(inner) is not dict or sys.platform == "win32":
        return [os.environ.get(name) for name in names]
    return [None if value is None else os.fsdecode(value) for value in map(inner.get, _encode(tuple(names)))]


def unset_unchanged_variables(values: Mapping[str, str]) -> None:
    """Undo ``set_own_variables`` where a variable still has the value that it was given."""
    inner = getattr(os.environ, "_data", None)
    if type(inner) is not dict or sys.platform == "win32" or _unset_stored is None:
        unset_own_variables([name for name, value in values.items() if os.environ.get(name) == value])
        return
    for stored, value in zip(_encode(tuple(values)), _encode(tuple(values.values())), strict=True):
        if inner.get(stored) == value:
            del inner[stored]
            _unset_stored(stored)


def unset_own_variables(names: Iterable[str]) -> None:
    """Undo ``set_own_variables``. Names that are not set are left alone."""
    inner = getattr(os.environ, "_data", None)
    if type(inner) is not dict or sys.platform == "win32" or _unset_stored is None:
        for name in names:
            os.environ.pop(name, None)
        return
    for stored in _encode(tuple(names)):
        if inner.pop(stored, None) is not None:
            _unset_stored(stored)


def put_variables_back(values: Mapping[str, str | None]) -> None:
    """Set variables to the values of another time or process. None unsets one. ``SetVariables`` does not note them."""
    unset_own_variables([name for name, value in values.items() if value is None])
    set_own_variables({name: value for name, value in values.items() if value is not None})


_MOST = 10_000
"""How many variables are remembered at most, so that memory is bounded."""

# Re-entrant, because a signal handler may set a variable while this thread holds it.
_lock = held_at_fork(threading.RLock())


class SetVariables:
    """The variables that are set in ``os.environ`` while a block of ``noting`` is open; no dummy keys. Thread-safe.

    The position of a variable is how many were set before it. A variable that is set to the same value again gets a new
    position and is kept once: ``mock.patch.dict`` sets the whole environment again.
    """

    def __init__(self) -> None:
        # Names with values, each with its position, in rising order. Owned by the outermost run, so never cleared as a
        # whole; `_drop` removes the oldest beyond the limit.
        self._rows: dict[tuple[bytes, bytes], int] = {}
        self.count = 0
        """The position behind the last one."""
        self.environment = os.environ
        """The mapping that is watched. If a program replaces ``os.environ``, the new object may not call
        ``os.putenv``; readers compare it with this one to find out."""
        self._blocks = 0  # open blocks of `noting`

    @contextlib.contextmanager
    def noting(self) -> Iterator[None]:
        """Note what is set until the block ends. What was noted stays."""
        with _lock:
            if not self._blocks:
                self.environment = os.environ
            self._blocks += 1
            # `os.environ` looks `putenv` up in the globals of `os` for each assignment, so it is replaced there.
            # Checked each time: another library may have replaced it, too, and put the original back since.
            if not self._is_noting():
                os.putenv = _NotingPutenv(self, os.putenv)
        try:
            yield
        finally:
            with _lock:
                self._blocks -= 1
                put = os.putenv
                # If another library has wrapped the function meanwhile, ours stays below that one. Without an open
                # block, `note` does nothing.
                if not self._blocks and isinstance(put, _NotingPutenv) and put.variables is self:
                    os.putenv = put.put

    def _is_noting(self) -> bool:
        return isinstance(os.putenv, _NotingPutenv) and os.putenv.variables is self

    def note(self, name: bytes, value: bytes) -> None:
        """Note a variable that was set, if a block of ``noting`` is open."""
        # Every replayed test sets some dummy keys. A URL with a password and a dummy key is none.
        is_dummy = value[-len(_DUMMY) :] == _DUMMY and b"@" not in value
        if not self._blocks or is_dummy:
            return
        with _lock:
            self._rows.pop((name, value), None)  # so that it goes to the end: the rows are ordered by their positions
            self._rows[name, value] = self.count
            self.count += 1
            if len(self._rows) > _MOST:
                self._drop()

    def _drop(self) -> None:
        """Drop the older half, but keep the newest secrets of it."""
        rows, older = list(self._rows.items()), len(self._rows) // 2
        secret = [row for row in rows[:older] if environment_secrets.environment_secrets(dict([_decode(row[0])]))]
        self._rows = dict([*secret[-(older // 2) :], *rows[older:]])

    def since(self, position: int) -> list[tuple[str, str]]:
        """Return the names and values that were set from a position on, in their order."""
        with _lock:
            rows = itertools.takewhile(lambda row: row[1] >= position, reversed(self._rows.items()))
            return [_decode(row) for row, _ in rows][::-1]


class _NotingPutenv:
    """Replaces ``os.putenv``, which ``os.environ`` calls for each variable that is set."""

    def __init__(self, variables: SetVariables, put: Callable[..., None]) -> None:
        self.variables = variables
        self.put = put

    def __call__(self, name: Text, value: Text, /) -> None:
        self.put(name, value)
        # `os.environ` has encoded both already, and each test sets some.
        stored = name if isinstance(name, bytes) else os.fsencode(name)
        if stored not in _LEFT_OUT:  # not in `note`, which saves a call: pytest sets one three times in each test
            self.variables.note(stored, value if isinstance(value, bytes) else os.fsencode(value))


def _decode(row: tuple[bytes, bytes]) -> tuple[str, str]:
    return os.fsdecode(row[0]), os.fsdecode(row[1])
