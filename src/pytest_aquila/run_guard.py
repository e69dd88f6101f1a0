"""Fail closed: for the whole run, what nothing asked for is refused, in this process and in its children."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from aquila.recording import runtime


@contextlib.contextmanager
def in_force() -> Iterator[None]:
    """Put the guard of a run in force. Raises ``ConfigError`` for settings that are wrong."""
    from aquila.intercept import activation, dummy_keys

    before = runtime.opener, runtime.test
    runtime.opener = runtime.test = None  # a run within a run, or in a child process, belongs to no test outside
    try:
        with dummy_keys.remembered(), activation.guarded():
            yield
    finally:
        runtime.opener, runtime.test = before
