"""The names of Aquila's files beside those of other recorders, whose names need not be names of cassettes."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from aquila.cassettes.storage.names import candidate_paths
from aquila.errors import CassetteNameError

_LONGEST = 190
"""The longest file name, in bytes, that is used as it is. File systems allow 255, of which suffixes need some."""


def is_name_of_cassette(path: Path) -> bool:
    """Whether the name of a file names the cassette in it. Within a name, a backslash begins a folder, for example."""
    try:
        file = candidate_paths(path.parent, path.name)[0]
    except CassetteNameError:
        return False
    return len(_encode(path.name)) <= _LONGEST and str(file) == str(path)  # only one may be a path of pyfakefs


def name_beside(path: Path, suffix: str = ".yaml") -> str:
    """Return the name of Aquila's file for the cassette ``path`` of another recorder, with the suffix of its format."""
    beside = path.with_name(path.name + suffix)
    if is_name_of_cassette(beside):
        return beside.name
    readable = _encode(re.sub(r"[\x00-\x1f\x7f\\:]", "-", path.stem))[: _LONGEST - 40].decode(errors="ignore")
    return f"{readable}-{hashlib.sha256(_encode(path.name)).hexdigest()[:16]}{suffix}"


def _encode(name: str) -> bytes:
    return name.encode("utf-8", "surrogatepass")  # a name that is not UTF-8 has surrogates
