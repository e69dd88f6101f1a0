"""Shows child processes which scopes of the process that runs the tests are open.

A child may outlive the test that started it, such as a worker of a pool that several tests share. Its later requests
must not be answered from the cassette of that test, nor recorded into it. So it looks whether that test still runs.
"""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING

from aquila.lazy_imports import lazy_modules
from aquila.recording import runtime

if TYPE_CHECKING:
    import mmap

    from aquila.recording.runtime import Run
else:
    lazy_modules(globals(), "mmap")

_WIDTH = 16
"""Characters of the id of a scope."""
_PLACES = 256
_FILE = "open"
"""The name of the file. It is no id of a scope."""


class OpenToChildren:
    """The ids of the open scopes of this process, in a file of ``folder`` that is mapped into memory.

    Opening and closing a scope, which every test does, is a write to memory. Only by a mistake are more scopes open at
    once than there are places. From then on, children take every scope for open.

    Raises ``OSError`` if the file cannot be written.
    """

    def __init__(self, folder: str) -> None:
        self.process = os.getpid()
        self._places: dict[str, int] = {}
        self._free = list(range(_PLACES - 1, 0, -1))  # place 0 says that there were not enough
        with open(os.path.join(folder, _FILE), "x+b", buffering=0) as file:
            # Written, and not only made longer: a full disk then is an error here, and not a SIGBUS later.
            if file.write(bytes(_PLACES * _WIDTH)) < _PLACES * _WIDTH:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), file.name)
            self._map = mmap.mmap(file.fileno(), _PLACES * _WIDTH)

    def add(self, scope_id: str) -> None:
        """Note that a scope is open. It may be noted already."""
        if scope_id in self._places:
            return
        place = self._free.pop() if self._free else 0
        self._places[scope_id] = place
        self._map[place * _WIDTH : (place + 1) * _WIDTH] = scope_id.encode() if place else b"*" * _WIDTH

    def remove(self, scope_id: str) -> None:
        """Note that a scope has ended."""
        if place := self._places.pop(scope_id, 0):
            self._map[place * _WIDTH : (place + 1) * _WIDTH] = bytes(_WIDTH)
            self._free.append(place)

    def close(self) -> None:
        """Unmap the file: its folder is about to go, and no child asks any more."""
        self.process = 0  # from now on, no process writes to it
        self._map.close()

    def holds(self, scope_id: str) -> bool:
        """Whether a scope is open in the process that made this object. For that process and its forks."""
        return self._map.closed or _holds(self._map[:], scope_id)


class ScopesShownToChildren:
    """The open scopes of this process, for its children, or what this process sees of those of its parent."""

    def __init__(self) -> None:
        self._own: OpenToChildren | None = None  # of the process that shows its scopes; its forks have it, too
        self._was_shown = False  # whether this process sees the scopes of its parent, while they are there

    def show_in(self, folder: str, run: Run) -> None:
        """Show the open scopes of this process in ``folder``, until ``run`` ends."""
        with contextlib.suppress(OSError):  # a full disk; children then take every scope for open
            self._own = run.hold(contextlib.closing(OpenToChildren(folder)))

    def are_shown_by(self, process: int | None) -> bool:
        """Whether the process with an id shows its open scopes, and this is that process or a fork of it."""
        return self._own is not None and self._own.process == process

    def note_open(self, scope_id: str) -> None:
        """Let child processes see that a scope of this process is open."""
        if self._own is not None and self._own.process == os.getpid():
            self._own.add(scope_id)

    def note_closed(self, scope_id: str) -> None:
        """Let child processes see that a scope of this process has ended."""
        if self._own is not None and self._own.process == os.getpid():
            self._own.remove(scope_id)

    def look_in(self, folder: str, place: tuple[str, str, str]) -> None:
        """Note whether this process sees the open scopes of its parent. If they are gone later, its run has ended.

        ``place`` is that of the folder, as in ``Run.messages``.
        """
        root, _, identity = place
        # A process that another child has started may begin after the run. Then only the place is left. In some
        # containers this process has another `/tmp`.
        is_place = identity == runtime.identity_of_folder(root) != ""
        self._was_shown = is_place or os.path.exists(os.path.join(folder, _FILE))

    def is_open(self, scope_id: str, folder: str | None) -> bool:
        """Whether a scope is open in the process that shows its scopes in ``folder``. True where nothing says so."""
        if self._own is not None:  # this is a fork of that process
            return self._own.holds(scope_id)
        if folder is None:
            return True
        try:
            with open(os.path.join(folder, _FILE), "rb", buffering=0) as file:
                return _holds(file.read(_PLACES * _WIDTH), scope_id)
        except FileNotFoundError:
            return not self._was_shown
        except OSError:
            return True


def _holds(places: bytes, scope_id: str) -> bool:
    return places.startswith(b"*") or scope_id.encode() in places
