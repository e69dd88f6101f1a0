"""Loading a cassette file as a run does that keeps compiled copies."""

from __future__ import annotations

import hashlib
from pathlib import Path

from aquila.cassettes.model import Cassette
from aquila.cassettes.storage.compiled_copies import load_compiled_bytes


def load_compiled(path: Path, cache: Path) -> Cassette:
    """Load a file from its copy in ``cache``, or leave one there."""
    data = path.read_bytes()
    return load_compiled_bytes(data, path, cache, hashlib.sha256(data).digest())
