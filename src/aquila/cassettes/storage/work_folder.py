"""The folder of journals and locks, below the cassette folder: made when it is needed, and removed when it is empty.

In it lies the lock of each cassette, with the name of who holds it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from aquila.cassettes.storage.names import WORK_FOLDER
from aquila.cassettes.storage.regular_files import read_regular, write_new_file
from aquila.errors import CassetteWriteError
from aquila.lazy_imports import lazy_modules

if TYPE_CHECKING:
    import logging
    import platform

    import filelock
else:
    lazy_modules(globals(), logging="logging", platform="platform", filelock="filelock")

_IGNORE_ALL = "*\n"
_MOST_ATTEMPTS = 20
"""So often the folder of journals is made while other processes remove it, because nothing is in it."""
_MADE_ROOT = "# Aquila made the cassette folder too.\n"
_SAID_AFTER = 2.0
"""Seconds after which it is said that another process holds a lock."""


def work_folder(root: Path) -> Path:
    """Return the folder of journals and locks, and make it if need be. Raises ``CassetteWriteError``.

    As long as nothing is in it, another process may remove it: see ``remove_unused_work_folder``.
    """
    folder = root / WORK_FOLDER
    ignore = folder / ".gitignore"
    if folder.is_symlink():
        raise CassetteWriteError(f"cannot record: {folder} is a symbolic link, which is not followed. Remove it.")
    for attempt in itertools.count():
        try:
            made_root = not root.exists()
            folder.mkdir(parents=True, exist_ok=True)
            if not os.path.lexists(ignore):
                with ignore.open("x") as file:  # a link that leads nowhere is no file, and is not followed
                    file.write(_IGNORE_ALL + (_MADE_ROOT if made_root else ""))
        except OSError as error:
            was_removed = isinstance(error, FileNotFoundError | FileExistsError)
            if not was_removed or attempt >= _MOST_ATTEMPTS:
                raise cassette_write_error(folder, error) from error
        else:
            break
    return folder


def remove_unused_work_folder(root: Path) -> None:
    """Remove the folder of journals and locks if there is none in it, and ``root`` if it was made for that alone.

    Who was about to use the folder makes it again.
    """
    folder = root / WORK_FOLDER
    ignore = folder / ".gitignore"
    with contextlib.suppress(OSError):
        if folder.is_symlink() or os.listdir(folder) != [ignore.name]:
            return
        content = read_regular(ignore).decode()
        ignore.unlink()
        try:
            folder.rmdir()
        except OSError:  # somebody uses it now
            ignore.write_text(content)
            return
        if content.endswith(_MADE_ROOT):
            root.rmdir()


@contextlib.contextmanager
def hold_cassette_lock(path: Path, root: Path, tell: Callable[[str], None] | None = None) -> Iterator[None]:
    """Hold the lock of a cassette within the block, which only one process on a file system can.

    ``root`` is the cassette folder. ``tell`` is told what is waited for, besides the log. Raises
    ``CassetteWriteError``.
    """
    name = hashlib.sha256(str(path.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:16]

    def acquire(lock: filelock.FileLock, name_holder: Callable[[], str]) -> None:
        # After a while, say who holds it: a process that hangs would be a riddle.
        try:
            lock.acquire(timeout=_SAID_AFTER)
        except filelock.Timeout:
            sentence = f"{path}: waiting to write it; {name_holder()} is writing it now (lock {lock.lock_file})"
            logging.getLogger("aquila").warning("%s", sentence)
            if tell is not None:
                tell(sentence)
            lock.acquire()

    with hold_named_lock(work_folder(root) / f"{name}.lock", acquire):
        yield


@contextlib.contextmanager
def hold_named_lock(file: Path, acquire: Callable[[filelock.FileLock, Callable[[], str]], None]) -> Iterator[None]:
    """Hold a lock within the block, with the name of this process beside it.

    ``acquire`` is given the lock, and what names the process that holds it. What it raises is raised; an ``OSError``
    becomes ``CassetteWriteError``.
    """
    lock, owner = filelock.FileLock(file), file.with_suffix(".owner")

    def name_holder() -> str:
        try:
            return read_regular(owner, most=200).decode(errors="replace")
        except OSError:
            return "another process"

    try:
        acquire(lock, name_holder)
        write_new_file(owner, f"process {os.getpid()} on {platform.node()}".encode())
    except OSError as error:
        raise cassette_write_error(file, error) from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            owner.unlink()
        lock.release()


@contextlib.contextmanager
def hold_cassette_locks(paths: Iterable[Path], root: Path) -> Iterator[None]:
    """Hold the locks of several cassettes within the block. Raises ``CassetteWriteError``."""
    with contextlib.ExitStack() as stack:
        # In one order, so that two processes never wait for each other; and one lock for what is one file.
        for path in sorted({path.resolve(): path for path in paths}.values()):
            stack.enter_context(hold_cassette_lock(path, root))
        yield


def cassette_write_error(path: Path, error: OSError) -> CassetteWriteError:
    """Return the error for a path that could not be written."""
    reason = error.strerror or str(error)
    advice = "free the disk or make the folder writable, or set another folder with aquila_cassette_dir"
    if error.errno in (errno.EMFILE, errno.ENFILE):
        advice = "close files or connections that the program keeps open, or allow more of them (ulimit -n 4096)"
    return CassetteWriteError(f"cannot record: {path}: {reason}. The cassette is as it was; {advice}.")
