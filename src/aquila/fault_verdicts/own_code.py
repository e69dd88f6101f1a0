"""Distinguishes the code of the program and its tests from libraries, even if the program itself is installed."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from importlib import metadata
from pathlib import Path

from aquila.recording.installed_code import is_standard_library, package_of

_AQUILA = tuple(str(Path(__file__).parent.parent.with_name(name)) + os.sep for name in ("aquila", "pytest_aquila"))


def make_own_code_check() -> Callable[[str], bool]:
    """Return a function that tells whether a file belongs to the program. It caches its answers for its lifetime."""
    installed = _find_own_packages()

    @cache
    def is_own(file: str) -> bool:
        if file.startswith(("<", *_AQUILA)):
            return False
        package = package_of(file)
        return package in installed if package is not None else not is_standard_library(file)

    return is_own


def _find_own_packages() -> frozenset[str]:
    """Return the packages that were installed from a folder or a file, as tox does, and not from an index."""
    # PEP 610: pip writes direct_url.json for what does not come from an index.
    found = set()
    for distribution in metadata.distributions():
        source = distribution.read_text("direct_url.json")
        if source is not None and '"file:' in source:
            found |= {Path(str(file)).parts[0].removesuffix(".py") for file in distribution.files or () if file.parts}
    return frozenset(name for name in found if name.isidentifier())
