"""Single keys of a terminal, read without Enter."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from aquila.lazy_imports import lazy_modules

if TYPE_CHECKING:
    import termios
    import tty
else:
    lazy_modules(globals(), termios="termios", tty="tty")

_ESCAPE = b"\x1b"
QUIT = "q"


def can_read_keys() -> bool:
    """Whether somebody sits at a terminal that can give single keys."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    try:
        return hasattr(termios, "tcgetattr")
    except ImportError:  # Windows
        return False


class Keys:
    """Within its block the terminal gives each key at once, and shows none.

    However the block ends, the terminal is as it was then. A signal that is to end the process raises
    ``KeyboardInterrupt`` there.
    """

    def __enter__(self) -> Keys:
        self._descriptor = sys.stdin.fileno()
        self._before = termios.tcgetattr(self._descriptor)
        # A shell gives the terminal its own mode when it stops a program.
        handlers = ((signal.SIGCONT, self._set_mode), (signal.SIGTERM, signal.default_int_handler))
        self._handlers = [(number, signal.signal(number, handler)) for number, handler in handlers]
        self._set_mode()
        return self

    def __exit__(self, *_: object) -> None:
        termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._before)
        for number, handler in self._handlers:
            signal.signal(number, handler)

    def _set_mode(self, *_: object) -> None:
        tty.setcbreak(self._descriptor, termios.TCSADRAIN)  # what is typed ahead is read

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """Let another program have the terminal within the block."""
        termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._before)
        try:
            yield
        finally:
            self._set_mode()

    def read(self) -> str:
        """Return the next key; ``q`` at the end of input. Arrows and their like are an empty text."""
        first = os.read(self._descriptor, 1)
        if not first or first == b"\x04":  # Ctrl-D
            return QUIT
        if first == _ESCAPE:
            self._skip_sequence()
            return ""
        beginnings = {0b110: 1, 0b1110: 2, 0b11110: 3}
        follow = next((count for bits, count in beginnings.items() if first[0] >> (6 - count) == bits), 0)
        return (first + b"".join(os.read(self._descriptor, 1) for _ in range(follow))).decode(errors="replace")

    def _skip_sequence(self) -> None:
        """Skip what follows an escape: that of an arrow, and no key that was pressed behind it."""
        byte = self._read_soon()
        if byte in (b"[", b"O"):
            while (byte := self._read_soon()) and not b"@" <= byte <= b"~":
                pass

    def _read_soon(self) -> bytes:
        """Return the next byte of a key, or nothing if none follows: a terminal sends them at once."""
        return os.read(self._descriptor, 1) if select.select([self._descriptor], [], [], 0.05)[0] else b""
