"""Tells by the path of a source file whose code it is: Python's own, an installed package's, or the project's."""

from __future__ import annotations

import functools
import os
import sysconfig

_INSTALLED = ("site-packages", "dist-packages")


def package_of(file: str) -> str | None:
    """Return the installed package or module to which a source file belongs; None if the file was not installed."""
    parts = os.path.normpath(file).split(os.sep)  # not `pathlib`: it may be that of a false file system
    for folder in _INSTALLED:
        if folder in parts:
            below = parts[len(parts) - parts[::-1].index(folder) :]
            return below[0].removesuffix(".py")
    return None


def is_standard_library(file: str) -> bool:
    """Say whether a source file lies in Python's own folders. ``site-packages`` does, too: ask ``package_of`` first."""
    return file.startswith(_standard_library())


@functools.cache  # does not change in a process, and `sysconfig` takes long
def _standard_library() -> tuple[str, ...]:
    # Where it is installed and where it was loaded from differ by a link, for instance in the Python of Homebrew.
    paths = sysconfig.get_paths()
    folders = {os.path.normpath(paths[name]) for name in ("stdlib", "platstdlib")} | {os.path.dirname(os.__file__)}
    return tuple(folder + os.sep for folder in folders)
