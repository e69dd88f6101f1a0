"""Fail closed: for the whole run, what nothing asked for is refused, in this process and in its children."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from aquila import _ambient


@contextlib.contextmanager
def in_force() -> Iterator[None]:
    """Put the guard of a run in force. Raises ``ConfigError`` for settings that are wrong."""
    from aquila.transports import inforce, keys

    before = _ambient.opener, _ambient.test
    _ambient.opener = _ambient.test = None  # a run within a run, or in a child process, belongs to no test outside
    try:
        with keys.remembered(), inforce.guarded():
            yield
    finally:
        _ambient.opener, _ambient.test = before
