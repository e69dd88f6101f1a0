"""From the name of a cassette to its file, and from a test to the name of its cassette."""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from pathlib import Path, PurePosixPath

from aquila.cassettes.codecs import suffixes
from aquila.errors import CassetteNameError

_UNSAID = (".yaml", ".msgpack")
"""The suffixes that a name without one may stand for."""
_FORBIDDEN = re.compile(r'[<>:"|?*\\/\x00-\x1f\x7f]+')
_LONGEST = 160
"""Bytes of a file's name before its suffix; file systems allow 255, and a suffix such as ``.pending.yaml`` is added."""


def cassette_path(root: Path, name: str) -> Path:
    """Return the file of the cassette ``name`` below the folder ``root``.

    A name is a relative path with ``/``; without a suffix it is a ``.yaml`` file, or the ``.msgpack`` file if only
    that one exists. Raises ``CassetteNameError`` for a name that is empty, absolute or leaves the folder.
    """
    readable, *others = candidates(root, name)
    return next((path for path in others if path.exists() and not readable.exists()), readable)


def candidates(root: Path, name: str) -> tuple[Path, ...]:
    """Return the files that may be the cassette ``name``, the first of them by default. Raises like ``cassette_path``.

    Nothing is looked for on the disk.
    """
    return _candidates(root, name if isinstance(name, str) else "")


@lru_cache(maxsize=1024)
def _candidates(root: Path, name: str) -> tuple[Path, ...]:
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if not parts or not name.strip() or "\x00" in name:
        raise CassetteNameError(f"cassette name {name!r} is empty; give a name such as 'jobs/generate_summary'")
    if parts[0] == "/" or re.match(r"[A-Za-z]:", parts[0]):
        raise CassetteNameError(
            f"cassette name {name!r} is absolute; give a name relative to the cassette folder {root}"
        )
    if ".." in parts:
        raise CassetteNameError(f"cassette name {name!r} leaves the cassette folder {root}; remove the '..'")
    path = root.joinpath(*parts)
    return (path,) if path.suffix in suffixes() else tuple(path.with_name(path.name + suffix) for suffix in _UNSAID)


def name_of_test(nodeid: str) -> str:
    """Return the cassette name of a test: ``<module path>/[Class.]test[param]``.

    ``nodeid`` is pytest's id of the test. In the test's own part, characters that some file system forbids become
    ``-`` and an over-long name is cut; either way a hash of the original follows, so that two tests never share a name.
    """
    module, _, test = nodeid.partition("::")
    name, bracket, parameters = test.partition("[")
    folder = PurePosixPath(module.replace("\\", "/")).with_suffix("")
    inside = [part for part in folder.parts if part not in ("..", "/")]
    return "/".join([*inside, _file_name(name.replace("::", ".") + bracket + parameters)])


def _file_name(text: str) -> str:
    clean = _FORBIDDEN.sub("-", text).strip(" ")
    if not clean or clean.endswith(suffixes()) or clean.startswith("."):
        clean = f"-{clean}-"
    encoded = clean.encode("utf-8", "surrogateescape")
    if clean == text and len(encoded) <= _LONGEST:
        return clean
    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:8]
    return encoded[: _LONGEST - len(digest) - 1].decode(errors="ignore") + "-" + digest
