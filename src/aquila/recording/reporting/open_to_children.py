"""Which scopes of the process that runs the tests are open, so that its child processes can see it.

A child may outlive the test that started it: a worker of a pool that several tests share. What it asks then must not
be answered from the cassette of that test, nor recorded into it, so it looks whether that test still runs.
"""

from __future__ import annotations

import errno
import mmap
import os

_WIDTH = 16
"""Characters of the id of a scope."""
_PLACES = 256
_FILE = "open"
"""The name of the file. No id of a scope looks like that."""


class OpenToChildren:
    """The ids of the open scopes of this process, in a file of ``folder`` that is mapped into memory.

    A scope opens and closes with each test, and a write to memory costs that nothing. More scopes than have a place are
    never open at once but by mistake; after that children are told that every scope is open.

    Raises ``OSError`` if the file cannot be written.
    """

    def __init__(self, folder: str) -> None:
        self.process = os.getpid()
        self._places: dict[str, int] = {}
        self._free = list(range(_PLACES - 1, 0, -1))  # the first place says that there were not enough
        with open(os.path.join(folder, _FILE), "x+b", buffering=0) as file:
            # Written and not only made longer: on a full disk that is an error here, and later would be SIGBUS.
            if file.write(bytes(_PLACES * _WIDTH)) < _PLACES * _WIDTH:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), file.name)
            self._map = mmap.mmap(file.fileno(), _PLACES * _WIDTH)

    def add(self, scope_id: str) -> None:
        """A scope is open. It may be so already."""
        if scope_id in self._places:
            return
        place = self._free.pop() if self._free else 0
        self._places[scope_id] = place
        self._map[place * _WIDTH : (place + 1) * _WIDTH] = scope_id.encode() if place else b"*" * _WIDTH

    def remove(self, scope_id: str) -> None:
        """A scope has ended."""
        if place := self._places.pop(scope_id, 0):
            self._map[place * _WIDTH : (place + 1) * _WIDTH] = bytes(_WIDTH)
            self._free.append(place)

    def close(self) -> None:
        """Unmap the file: its folder is about to go, and no child asks any more."""
        self.process = 0  # no process shows anything in it from now on
        self._map.close()

    def holds(self, scope_id: str) -> bool:
        """Whether a scope is open in the process that made this, asked by itself or by a fork of it."""
        return self._map.closed or _holds(self._map[:], scope_id)


def is_open_in_parent(folder: str | None, scope_id: str) -> bool:
    """Whether a scope is open in the process whose ``OpenToChildren`` is in ``folder``. True where nothing says so."""
    if folder is None:
        return True
    try:
        with open(os.path.join(folder, _FILE), "rb", buffering=0) as file:
            return _holds(file.read(_PLACES * _WIDTH), scope_id)
    except OSError:  # the run of the parent has ended
        return True


def _holds(places: bytes, scope_id: str) -> bool:
    return places.startswith(b"*") or scope_id.encode() in places
