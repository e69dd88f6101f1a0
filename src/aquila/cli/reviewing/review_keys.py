"""Reads single keys from a terminal, without Enter."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
from collections.abc import Iterator
from typing import Any

if sys.platform == "win32":  # Windows has neither module, so `can_read_keys` is False there
    termios: Any = None
    tty: Any = None
else:
    import termios
    import tty

_ESCAPE = b"\x1b"
QUIT = "q"


def can_read_keys() -> bool:
    """Whether stdin and stdout are a terminal from which single keys can be read."""
    return sys.platform != "win32" and sys.stdin.isatty() and sys.stdout.isatty()


class Keys:
    """Within its block, the terminal delivers each key at once, and does not echo it.

    At the end of the block, the mode of the terminal and the signal handlers are restored. Within it, SIGTERM raises
    ``KeyboardInterrupt``, so that they are restored then, too.
    """

    def __enter__(self) -> Keys:
        self._descriptor = sys.stdin.fileno()
        self._before = termios.tcgetattr(self._descriptor)
        self._handlers = [(signal.SIGTERM, signal.signal(signal.SIGTERM, signal.default_int_handler))]
        if sys.platform != "win32":
            # When a program is stopped by Ctrl-Z, the shell sets its own mode; SIGCONT comes when it continues.
            self._handlers.append((signal.SIGCONT, signal.signal(signal.SIGCONT, self._set_mode)))
        self._set_mode()
        return self

    def __exit__(self, *_: object) -> None:
        termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._before)
        for number, handler in self._handlers:
            signal.signal(number, handler)

    def _set_mode(self, *_: object) -> None:
        tty.setcbreak(self._descriptor, termios.TCSADRAIN)  # TCSADRAIN keeps keys that were typed ahead

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """Give the terminal its usual mode within the block, for another program."""
        termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._before)
        try:
            yield
        finally:
            self._set_mode()

    def read(self) -> str:
        """Return the next key; ``q`` at the end of input, and an empty text for arrows and other special keys."""
        first = os.read(self._descriptor, 1)
        if not first or first == b"\x04":  # Ctrl-D
            return QUIT
        if first == _ESCAPE:
            self._skip_sequence()
            return ""
        # The first byte of a UTF-8 character tells how many follow.
        beginnings = {0b110: 1, 0b1110: 2, 0b11110: 3}
        follow = next((count for bits, count in beginnings.items() if first[0] >> (6 - count) == bits), 0)
        return (first + b"".join(os.read(self._descriptor, 1) for _ in range(follow))).decode(errors="replace")

    def _skip_sequence(self) -> None:
        """Skip the rest of an escape sequence, such as that of an arrow key, but no key that is pressed later."""
        byte = self._read_soon()
        if byte in (b"[", b"O"):
            while (byte := self._read_soon()) and not b"@" <= byte <= b"~":
                pass

    def _read_soon(self) -> bytes:
        """Return the next byte of an escape sequence, or nothing: a terminal sends all its bytes at once."""
        return os.read(self._descriptor, 1) if select.select([self._descriptor], [], [], 0.05)[0] else b""
