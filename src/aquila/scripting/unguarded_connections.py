"""Connections between the processes of a run, even if a plugin has replaced ``socket.socket``.

pytest-socket puts a class in its place that refuses every socket, also those of ``multiprocessing.connection``. The
connections here never leave the machine. They use the module ``_socket`` below that class, and the protocol of
``multiprocessing.connection``.
"""

from __future__ import annotations

import _socket
import contextlib
import os
import sys
from collections.abc import Iterator
from multiprocessing import connection
from typing import TYPE_CHECKING, Any

from aquila.temporary_folders import TemporaryFolder

_LONGEST_ADDRESS = 100
"""Bytes. The system takes a few more for the path of a socket: 107 on Linux, 103 on macOS."""
_DESCRIPTORS = "/proc/self/fd"
"""Where Linux gives a path to each descriptor of a process."""
_SHORT_ROOT = "/tmp"
"""A short folder for temporary files, which every system with such sockets has. ``TMPDIR`` may be longer."""


if not TYPE_CHECKING or sys.platform != "win32":  # a test may pretend to run on another system when this is imported

    class _UnixListener:
        """Does what ``connection.Listener`` does, for the path of a socket."""

        def __init__(self, address: str, key: bytes) -> None:
            self._key = key
            self._address, self._process = address, os.getpid()
            self._socket: Any = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
            try:
                self._socket.setblocking(True)
                with _short_address(address) as short:
                    self._socket.bind(short)
                self._socket.listen(64)
            except OSError:
                self._socket.close()
                raise

        def accept(self) -> Any:
            """Return the next connection. Raises ``OSError`` once this is closed, and errors of a bad connection."""
            descriptor, _ = self._socket._accept()
            return _prove(connection.Connection(descriptor), self._key, is_listener=True)

        def close(self) -> None:
            """Close the socket. The process that has made it also ends a waiting ``accept`` and removes the file."""
            if self._process == os.getpid():
                with contextlib.suppress(OSError):
                    # On Linux `close` alone leaves a thread that waits in `accept` waiting for ever.
                    self._socket.shutdown(_socket.SHUT_RDWR)
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self._address)
            self._socket.close()


def listen(address: str, key: bytes) -> Any:
    """Return a listener, with the methods ``accept`` and ``close``, for those who know ``key``. Raises ``OSError``."""
    if sys.platform == "win32":
        return connection.Listener(address, authkey=key)
    else:
        return _UnixListener(address, key)


def connect(address: str, key: bytes) -> Any:
    """Return a connection to the listener at an address. Raises ``OSError``, ``AuthenticationError``, ``EOFError``."""
    if sys.platform == "win32":
        return connection.Client(address, authkey=key)
    made = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        made.setblocking(True)
        with _short_address(address) as short:
            made.connect(short)
    except OSError:
        made.close()
        raise
    return _prove(connection.Connection(made.detach()), key, is_listener=False)


@contextlib.contextmanager
def _short_address(address: str) -> Iterator[str]:
    """Yield a path to the same socket that is short enough, through a descriptor of its folder or a link to it."""
    if len(os.fsencode(address)) <= _LONGEST_ADDRESS:
        yield address
        return
    folder, name = os.path.split(address)
    if os.path.isdir(_DESCRIPTORS):  # needs no file: where `TMPDIR` is long, `/tmp` may not be writable
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            yield os.path.join(_DESCRIPTORS, str(descriptor), name)
        finally:
            os.close(descriptor)
        return
    with TemporaryFolder("link", root=_SHORT_ROOT) as short:
        os.symlink(folder, link := os.path.join(short, "to"))
        yield os.path.join(link, name)


def _prove(made: Any, key: bytes, *, is_listener: bool) -> Any:
    """Let both sides prove that they know the key. The listener is the first to demand it."""
    steps: list[Any] = [connection.deliver_challenge, connection.answer_challenge]
    try:
        for step in steps if is_listener else reversed(steps):
            step(made, key)
    except BaseException:
        made.close()
        raise
    return made
