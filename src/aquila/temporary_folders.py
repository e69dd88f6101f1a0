"""Temporary folders that only this user can read, and that end with the process that made them.

A folder is removed by ``close``, when its object is collected, and at the end of the process. SIGTERM, SIGKILL and
``os._exit`` leave folders behind. The next process that makes a folder removes these: each process locks its folders,
and the system releases the locks however the process ends. A fork of the process holds the locks, too, but removes
nothing. There is no handler of signals, because signals belong to the program.

This module needs little of Aquila, so that commands, runs and requests can all use it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
import weakref
from typing import Any

from aquila.lazy_patterns import lazy_pattern

fcntl: Any
try:  # not decided by `sys.platform`, which a test may have replaced
    import fcntl
except ImportError:  # Windows: folders are not locked there, and those of killed processes stay
    fcntl = None

_BEGINNING = "aquila-"
_NAME = lazy_pattern(r"aquila-[a-z]+-[a-z0-9_]{8,24}\.tmp")
"""The names of these folders, and of nothing else: a folder with such a name that no process locks is removed."""
_MOST_ATTEMPTS = 20
"""How often a folder is made, if others remove it before it is locked, and removed, if others put files into it."""

_own: set[_HeldFolder] = set()
"""The folders of this process, and of its parent if it was forked."""
_swept: set[tuple[int, str]] = set()
"""The process ids and places of past searches for left folders. A place is searched once, because it may be large."""


class _HeldFolder:
    """The path of a folder, and the descriptor that holds its lock. It keeps no ``TemporaryFolder`` alive."""

    __slots__ = ("_identity", "_lock", "path", "process")

    def __init__(self, path: str) -> None:
        self.path = path
        self.process = os.getpid()
        self._lock: int | None = None
        self._identity: os.stat_result | None = None

    def lock(self) -> bool:
        """Lock the folder. Return False if another process has removed it, as it does with any unlocked folder."""
        if fcntl is None:
            return True
        try:
            descriptor = _open_folder(self.path)
        except FileNotFoundError:
            return False
        try:
            # Waits for a process that is removing the folder: until then, no folder of this name can be made again.
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if not _is_at(self.path, descriptor):
                os.close(descriptor)
                return False
        except OSError:  # a file system without locks: there, no process removes the folders of others
            os.close(descriptor)
            return True
        self._lock, self._identity = descriptor, os.fstat(descriptor)
        return True

    def remove(self) -> None:
        """Remove the folder, in the process that made it."""
        if self.process != os.getpid():
            return
        _own.discard(self)
        _remove_tree(self.path)
        if self._lock is not None and self._identity is not None:
            # The program may have closed this descriptor, and its number may be that of another file by now.
            with contextlib.suppress(OSError):
                if os.path.samestat(os.fstat(self._lock), self._identity):
                    os.close(self._lock)


class TemporaryFolder:
    """A new folder in the folder for temporary files, for this user alone.

    - ``purpose``: a word of small letters, which becomes a part of the folder's name.
    - ``mark``: 8 to 24 digits or small letters, which become a part of the name, by default random ones. Other
      processes find the folder by its mark, with ``path_of``.
    - ``root``: the folder to make it in, by default the folder for temporary files.

    Raises ``OSError`` if it cannot be made; the message says what to do.
    """

    def __init__(self, purpose: str, mark: str | None = None, root: str | None = None) -> None:
        place = _make_place(purpose, mark, root or temporary_root())
        self.path = place.path
        _own.add(place)
        # A worker of `multiprocessing` runs only the finalizers of `multiprocessing` at its end.
        util: Any = sys.modules.get("multiprocessing.util")
        self._close: Any = (
            weakref.finalize(self, place.remove) if util is None else util.Finalize(self, place.remove, exitpriority=0)
        )

    def close(self) -> None:
        """Remove the folder, with what is in it."""
        self._close()

    def __enter__(self) -> str:
        """Return the path of the folder."""
        return self.path

    def __exit__(self, *_: object) -> None:
        """Remove the folder."""
        self.close()


def path_of(purpose: str, mark: str, root: str | None = None) -> str:
    """Return the path of a folder that another process has made with this mark. Raises as ``temporary_root``."""
    return os.path.join(root or temporary_root(), f"aquila-{purpose}-{mark}.tmp")


def temporary_root() -> str:
    """Return the folder for temporary files. Raises ``OSError`` if there is none; the message says what to do."""
    try:
        return tempfile.gettempdir()
    except OSError as error:
        raise _explain(error) from error


def remove_own_folders() -> None:
    """Remove all folders that this process has made. For a process that ends without running its exit handlers."""
    for place in tuple(_own):
        place.remove()


def remove_left_folders(root: str | None = None) -> None:
    """Remove the folders of processes of this user that have ended without removing them.

    ``root`` is the folder to search, by default the folder for temporary files.
    """
    with contextlib.suppress(OSError):  # there is no such folder, or it may not be listed
        with os.scandir(root := root or temporary_root()) as entries:
            names = [entry.name for entry in entries if entry.name.startswith(_BEGINNING)]
            found = [os.path.join(root, name) for name in names if _NAME.fullmatch(name)]
        for path in found:
            with contextlib.suppress(OSError):  # a folder of another user, or one in use
                _remove_if_left(path)


def _make_place(purpose: str, mark: str | None, root: str) -> _HeldFolder:
    if (here := (os.getpid(), root)) not in _swept:
        _swept.add(here)
        remove_left_folders(root)
    try:
        for _ in range(_MOST_ATTEMPTS):
            if mark is None:
                path = tempfile.mkdtemp(prefix=f"aquila-{purpose}-", suffix=".tmp", dir=root)
            else:
                os.mkdir(path := path_of(purpose, mark, root), 0o700)
            place = _HeldFolder(path)
            try:
                if place.lock():
                    return place
            except BaseException:  # such as a TypeError in a test that has replaced `os.open`
                with contextlib.suppress(OSError):
                    os.rmdir(path)  # unlocked, it would be taken for one that is left
                raise
    except OSError as error:
        raise _explain(error) from error
    raise OSError(f"cannot make a temporary folder in {root}: other processes remove it again and again")


def _explain(error: OSError) -> OSError:
    advice = "Set TMPDIR to a folder that exists, that this user can write to, and that has space"
    return OSError(error.errno, f"cannot make a temporary folder: {error.strerror or error}. {advice}", error.filename)


def _remove_if_left(path: str) -> None:
    """Remove a folder of this user that no process has locked. Raises ``OSError`` if one has."""
    if sys.platform == "win32":
        return
    descriptor = _open_folder(path)
    try:
        if os.fstat(descriptor).st_uid == os.geteuid():
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                if _is_at(path, descriptor):
                    _remove_tree(path)
            finally:
                # Closing the descriptor would not release the lock if this process has forked meanwhile: the child has
                # the descriptor, too. A process that has just made the folder may be waiting for the lock.
                fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def _open_folder(path: str) -> int:
    return os.open(path, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0))


def _is_at(path: str, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.lstat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _remove_tree(path: str) -> None:
    for _ in range(_MOST_ATTEMPTS):
        shutil.rmtree(path, ignore_errors=True)
        if not os.path.lexists(path):  # if it exists, another process has put a file into it meanwhile
            return
