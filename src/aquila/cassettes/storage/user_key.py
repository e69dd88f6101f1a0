"""A secret key of the user of this machine. It tells files that Aquila wrote here from files that came with a project.

The key is in the user's cache folder, outside of all projects, and only the user can read it. So data with a checksum
that was made with the key was written by a process of this user.
"""

from __future__ import annotations

import contextlib
import functools
import hmac
import os
import sys
from pathlib import Path

from aquila.cassettes.storage.regular_files import BINARY, read_regular

_SIZE = 32
MAC_SIZE = 16
"""The size of a checksum in bytes."""


def user_key() -> bytes | None:
    """Return the key, created on first use; None where it cannot be stored safely."""
    # The variables in the form in which `os.environ` stores them, if possible: each cassette asks, and decoding them
    # would take longer than everything else here.
    inner = getattr(os.environ, "_data", None)
    if type(inner) is dict and sys.platform != "win32":
        return _load_key(_key_file(*map(inner.get, _RAW_DECIDING)))
    return _load_key(_key_file(*map(os.environ.get, _DECIDING)))


def keyed_checksum(key: bytes, *parts: bytes | memoryview) -> bytes:
    """Return the checksum of ``parts``, which nobody can compute without the key."""
    mac = hmac.new(key, digestmod="sha256")
    for part in parts:
        mac.update(part)
    return mac.digest()[:MAC_SIZE]


_DECIDING = ("XDG_CACHE_HOME", "LOCALAPPDATA", "HOME" if os.name == "posix" else "USERPROFILE")
"""The environment variables that decide where the key is."""
_RAW_DECIDING = tuple(map(os.fsencode, _DECIDING))


# Cached, because every cassette asks. The arguments are the values of `_DECIDING`, so no entry is stale.
@functools.lru_cache(maxsize=8)
def _key_file(*_deciding: str | bytes | None) -> str:
    cache = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA") or os.path.expanduser("~/.cache")
    return os.path.join(cache, "aquila", "key")


# Cached, because every cassette asks, and the key never changes. By path, because a test may set another cache folder.
@functools.lru_cache(maxsize=8)
def _load_key(path: str) -> bytes | None:
    if not os.path.isabs(path):  # a user without a home, or a variable that would lead into the project
        return None
    with contextlib.suppress(OSError):
        return _read_key(path)
    try:
        _write_key(Path(path))
        return _read_key(path)  # read again: if two processes write a key at once, the last one stays
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
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | BINARY, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(os.urandom(_SIZE))
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
