"""A secret key of the user of this machine, which distinguishes what Aquila wrote here from what came with a project.

It lies in the user's cache folder, outside of all projects, and only the user can read it. So data with a checksum that
was made with the key was written by a process of this user, on this machine.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import sys
from pathlib import Path

from aquila.cassettes.storage.regular_files import read_regular

_SIZE = 32
MAC_SIZE = 16
"""The size of a checksum in bytes."""


def user_key() -> bytes | None:
    """Return the key, created on first use; None where it cannot be stored safely."""
    # As `os.environ` stores them, if it stores them: decoding takes longer than all else here, and each cassette asks.
    inner = getattr(os.environ, "_data", None)
    if type(inner) is dict and sys.platform != "win32":
        return _load_key(_key_file(*map(inner.get, _RAW_DECIDING)))
    return _load_key(_key_file(*map(os.environ.get, _DECIDING)))


def keyed_checksum(key: bytes, *parts: bytes | memoryview) -> bytes:
    """Return the checksum of some bytes. Nobody can make it without the key."""
    mac = hashlib.blake2b(key=key, digest_size=MAC_SIZE)
    for part in parts:
        mac.update(part)
    return mac.digest()


# Kept by what decides it, because every cassette asks.
_DECIDING = ("XDG_CACHE_HOME", "LOCALAPPDATA", "HOME" if os.name == "posix" else "USERPROFILE")
_RAW_DECIDING = tuple(map(os.fsencode, _DECIDING))


@functools.lru_cache(maxsize=8)
def _key_file(*_deciding: str | bytes | None) -> str:
    cache = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA") or os.path.expanduser("~/.cache")
    return os.path.join(cache, "aquila", "key")


# Every cassette asks for the key, and it never changes. By path, because a test may set another cache folder.
@functools.lru_cache(maxsize=8)
def _load_key(path: str) -> bytes | None:
    if not os.path.isabs(path):  # a user without a home, or a variable that would lead into the project
        return None
    with contextlib.suppress(OSError):
        return _read_key(path)
    try:
        _write_key(Path(path))
        return _read_key(path)  # not the one just written: of two processes at once, the last one's key stays
    except OSError:
        return None


def _read_key(path: str) -> bytes:
    """Read the key. Raises ``OSError`` for one that others could have read or written."""
    status = os.lstat(path)
    key = read_regular(path, most=_SIZE + 1)
    if len(key) != _SIZE or (sys.platform != "win32" and (status.st_uid != os.geteuid() or status.st_mode & 0o077)):
        raise OSError("not a key of this user")
    return key


def _write_key(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.urandom(8).hex()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(os.urandom(_SIZE))
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
