"""Connections between the processes of a run, whatever a plugin has put in the place of ``socket.socket``.

pytest-socket puts a class there that refuses every socket, those of ``multiprocessing.connection`` too. These never
leave the machine: they are made of what that class is built on, and speak as ``multiprocessing.connection`` does.
"""

from __future__ import annotations

import _socket
import os
import sys
from multiprocessing import connection, util
from typing import Any


class _UnixListener:
    """What ``connection.Listener`` is for the path of a socket."""

    def __init__(self, address: str, key: bytes) -> None:
        self._key = key
        self._socket: Any = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        try:
            self._socket.setblocking(True)
            self._socket.bind(address)
            self._socket.listen(64)
        except OSError:
            self._socket.close()
            raise
        # Also at the end of this process, and not at that of a fork.
        self._remove = util.Finalize(self, os.unlink, args=(address,), exitpriority=0)

    def accept(self) -> Any:
        """Return the next connection. Raises ``OSError`` once this is closed, and what a stranger causes."""
        descriptor, _ = self._socket._accept()
        return _prove(connection.Connection(descriptor), self._key, is_asked=True)

    def close(self) -> None:
        """Close and remove the socket."""
        self._socket.close()
        self._remove()


def listen(address: str, key: bytes) -> Any:
    """Return a listener, with the methods ``accept`` and ``close``, for those who know ``key``. Raises ``OSError``."""
    if sys.platform == "win32":
        return connection.Listener(address, authkey=key)
    return _UnixListener(address, key)


def connect(address: str, key: bytes) -> Any:
    """Return a connection to the listener at an address. Raises ``OSError``, ``AuthenticationError``, ``EOFError``."""
    if sys.platform == "win32":
        return connection.Client(address, authkey=key)
    made = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        made.setblocking(True)
        made.connect(address)
    except OSError:
        made.close()
        raise
    return _prove(connection.Connection(made.detach()), key, is_asked=False)


def _prove(made: Any, key: bytes, *, is_asked: bool) -> Any:
    """Let both sides show that they know the key: the one that is asked demands it first."""
    steps: list[Any] = [connection.deliver_challenge, connection.answer_challenge]
    try:
        for step in steps if is_asked else reversed(steps):
            step(made, key)
    except BaseException:
        made.close()
        raise
    return made
