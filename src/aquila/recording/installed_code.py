"""Tells by its file whose code runs: Python's own, that of an installed package, or the project's."""

from __future__ import annotations

import functools
import os
import sysconfig
from pathlib import Path

_INSTALLED = ("site-packages", "dist-packages")


def package_of(file: str) -> str | None:
    """The installed package or module that a source file belongs to; None for a file that was not installed."""
    parts = Path(file).parts
    for folder in _INSTALLED:
        if folder in parts:
            below = parts[len(parts) - parts[::-1].index(folder) :]
            return below[0].removesuffix(".py")
    return None


def is_standard_library(file: str) -> bool:
    """Whether a source file is one of Python's own. What is installed may lie in the same folder."""
    return file.startswith(_standard_library())


@functools.cache
def _standard_library() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    return tuple({str(Path(paths[name])) + os.sep for name in ("stdlib", "platstdlib")})
