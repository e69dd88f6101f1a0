"""Loads a cassette file through a compiled copy, as a pytest run does."""

from __future__ import annotations

import hashlib
from pathlib import Path

from aquila.cassettes.model import Cassette
from aquila.cassettes.storage.compiled_copies import load_compiled_bytes


def load_compiled(path: Path, cache: Path) -> Cassette:
    """Load a file from its compiled copy in ``cache``. Write the copy if there is none."""
    data = path.read_bytes()
    return load_compiled_bytes(data, path, cache, hashlib.sha256(data).digest())
