"""The lock of a cassette: only one process at a time writes a cassette.

The lock is a file in the work folder. A second file beside it names the process that holds the lock. That process
removes both files at the end, and the folder if nothing else is in it.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import logging
import os
import platform
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from aquila.cassettes.storage.regular_files import read_regular, write_new_file
from aquila.cassettes.storage.work_folder import (
    HAS_NO_LOCKS,
    cannot_lock_error,
    cassette_write_error,
    remove_unused_work_folder,
    work_folder,
)
from aquila.lazy_imports import lazy_modules

if TYPE_CHECKING:
    import filelock
else:
    lazy_modules(globals(), "filelock")

_SAID_AFTER = 2.0
"""After how many seconds of waiting for a lock the user is told which process holds it."""
_MOST_ATTEMPTS = 20
"""How often the lock file is made again while other processes remove the work folder because it is empty."""


@contextlib.contextmanager
def hold_cassette_lock(path: Path, root: Path, tell: Callable[[str], None] | None = None) -> Iterator[None]:
    """Hold the lock of a cassette within the block. Only one process at a time can hold it.

    ``root`` is the cassette folder. If another process holds the lock for more than two seconds, ``tell`` is called
    with a sentence that names it; the log gets it, too. Raises ``CassetteWriteError``.
    """
    # The lock is in the work folder and not beside the cassette, where it would show up in git.
    # Not `path.resolve()`, which raises for a link to itself before Python 3.13. Users of the lock refuse such a link.
    name = hashlib.sha256(os.path.realpath(path).encode("utf-8", "surrogateescape")).hexdigest()[:16]

    def acquire(lock: filelock.FileLock, name_holder: Callable[[], str]) -> None:
        # Without the sentence, a run that waits for another process would look as if it hung.
        try:
            lock.acquire(timeout=_SAID_AFTER)
        except filelock.Timeout:
            sentence = f"{path}: waiting to write it; {name_holder()} is writing it now (lock {lock.lock_file})"
            logging.getLogger("aquila").warning("%s", sentence)
            if tell is not None:
                tell(sentence)
            lock.acquire()

    with hold_named_lock(root, f"{name}.lock", acquire):
        yield


@contextlib.contextmanager
def hold_named_lock(
    root: Path, name: str, acquire: Callable[[filelock.FileLock, Callable[[], str]], None]
) -> Iterator[None]:
    """Hold a lock within the block, with the name of this process beside it.

    ``name`` is that of the lock file in the work folder of the cassette folder ``root``. ``acquire`` acquires the lock
    that it is given; its second argument is a function that returns the name of the process that holds it. Its
    exceptions pass through, but an ``OSError`` becomes ``CassetteWriteError``.
    """
    for attempt in itertools.count():
        file = work_folder(root) / name
        # No soft lock, which does not use the locks of the system: a `Journal` needs these in any case.
        lock, owner = filelock.FileLock(file, fallback_to_soft=False), file.with_suffix(".owner")
        try:
            acquire(lock, functools.partial(_read_holder, owner))
            break
        except OSError as error:
            if error.errno in HAS_NO_LOCKS:
                raise cannot_lock_error(file, error) from error
            # Another process may just have removed the folder, because nothing was in it.
            if not isinstance(error, FileNotFoundError | FileExistsError) or attempt >= _MOST_ATTEMPTS:
                raise cassette_write_error(file, error) from error
    held = None
    try:
        try:
            held = os.lstat(file)
            work_folder(root)  # `filelock` may have created the folder anew, without its `.gitignore`
            write_new_file(owner, f"process {os.getpid()} on {platform.node()}".encode())
        except OSError as error:  # Such as a full disk. A lock that stays would make this process wait for itself.
            raise cassette_write_error(file, error) from error
        yield
    finally:
        # Both files are removed before `release`: afterwards they could be those of the next holder.
        with contextlib.suppress(OSError):
            if _remove_and_tell(owner) and held is not None:
                _remove_lock_file(file, held)
        lock.release()
        remove_unused_work_folder(root)


def _read_holder(owner: Path) -> str:
    try:
        return read_regular(owner, most=200).decode(errors="replace")
    except OSError:
        return "another process"


def _remove_and_tell(owner: Path) -> bool:
    """Remove a file. Say whether processes that have the file open see that it was removed: its number of links is 0.

    On NFS and FUSE they do not: these give the removed file another name, so it keeps a link.
    """
    if sys.platform == "win32":  # an open file cannot be removed; `filelock` removes it once it is closed
        owner.unlink()
        return False
    descriptor = os.open(owner, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        owner.unlink()
        return os.fstat(descriptor).st_nlink == 0
    finally:
        os.close(descriptor)


def _remove_lock_file(file: Path, held: os.stat_result) -> None:
    """Remove the file of a lock that this process holds. ``held`` is the status of the file when it was locked.

    Another process may have opened the file and wait for the lock. It must not hold the lock on the removed file while
    a third process locks a new file. `filelock` checks the number of links once it has locked a file, and begins anew
    if the number is 0. So this is only for file systems that set it; see ``_remove_and_tell``.
    """
    if os.path.samestat(os.lstat(file), held):  # it is another file if the user has emptied the folder meanwhile
        file.unlink()


@contextlib.contextmanager
def hold_cassette_locks(paths: Iterable[Path], root: Path) -> Iterator[None]:
    """Hold the locks of several cassettes within the block. Raises ``CassetteWriteError``."""
    with contextlib.ExitStack() as stack:
        # In the order of the resolved paths, so that no two processes deadlock. Two paths of one file have one lock.
        for _, path in sorted({os.path.realpath(path): path for path in paths}.items()):
            stack.enter_context(hold_cassette_lock(path, root))
        yield
