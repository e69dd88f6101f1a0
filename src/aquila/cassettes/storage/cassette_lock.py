"""The lock of a cassette: of several processes that record, one at a time writes it.

It is a file in the work folder, beside another with the name of the process that holds it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from aquila.cassettes.storage.regular_files import read_regular, write_new_file
from aquila.cassettes.storage.work_folder import cassette_write_error, work_folder
from aquila.lazy_imports import lazy_modules

if TYPE_CHECKING:
    import logging
    import platform

    import filelock
else:
    lazy_modules(globals(), logging="logging", platform="platform", filelock="filelock")

_SAID_AFTER = 2.0
"""After how many seconds of waiting for a lock the user is told who holds it."""


@contextlib.contextmanager
def hold_cassette_lock(path: Path, root: Path, tell: Callable[[str], None] | None = None) -> Iterator[None]:
    """Hold the lock of a cassette within the block. Only one process at a time can hold it.

    ``root`` is the cassette folder. If another process holds the lock for more than two seconds, ``tell`` is called
    with a sentence that names it; the log gets it, too. Raises ``CassetteWriteError``.
    """
    # The lock is a file in the work folder, and not beside the cassette, where it would show up in git.
    name = hashlib.sha256(str(path.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:16]

    def acquire(lock: filelock.FileLock, name_holder: Callable[[], str]) -> None:
        # Without the sentence, a run that waits for a process that hangs would look as if it hung itself.
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

    ``file`` is the lock file. ``acquire`` acquires the lock that it is given; its second argument is a function that
    returns the name of the process that holds it. Its exceptions pass through, but an ``OSError`` becomes
    ``CassetteWriteError``.
    """
    lock, owner = filelock.FileLock(file), file.with_suffix(".owner")

    def name_holder() -> str:
        try:
            return read_regular(owner, most=200).decode(errors="replace")
        except OSError:
            return "another process"

    try:
        acquire(lock, name_holder)
    except OSError as error:
        raise cassette_write_error(file, error) from error
    try:
        try:
            write_new_file(owner, f"process {os.getpid()} on {platform.node()}".encode())
        except OSError as error:  # such as a full disk; the lock must not stay, or this process waits for itself
            raise cassette_write_error(file, error) from error
        yield
    finally:
        # The name goes first: after `release`, it could be that of the next holder.
        with contextlib.suppress(OSError):
            owner.unlink()
        lock.release()


@contextlib.contextmanager
def hold_cassette_locks(paths: Iterable[Path], root: Path) -> Iterator[None]:
    """Hold the locks of several cassettes within the block. Raises ``CassetteWriteError``."""
    with contextlib.ExitStack() as stack:
        # Always in one order, so that two processes cannot deadlock; and one lock for two paths of the same file.
        for path in sorted({path.resolve(): path for path in paths}.values()):
            stack.enter_context(hold_cassette_lock(path, root))
        yield
