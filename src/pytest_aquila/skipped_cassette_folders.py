"""Keeps pytest from looking for tests in folders that hold nothing but cassettes.

pytest asks its plugins about each file, and looks for two more files below each. That takes 0.1 ms for a cassette, and
a suite may have one cassette for each test.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_SUFFIXES = (".yaml", ".msgpack")
_HOOKS = ("pytest_collect_file", "pytest_collect_directory")


class SkippedCassetteFolders:
    """Passes over the folders below ``root`` whose files are all cassettes."""

    def __init__(self, root: Path) -> None:
        self._root = str(root)
        self._below = self._root + os.sep

    @pytest.hookimpl(tryfirst=True)
    def pytest_ignore_collect(self, collection_path: Path, config: pytest.Config) -> bool | None:
        """Pass over a folder that can have no tests, because it holds only cassettes. Return None for others."""
        path = str(collection_path)
        if (path == self._root or path.startswith(self._below)) and _holds_cassettes_alone(path):
            return None if _may_collect_others(config) else True
        return None


def _holds_cassettes_alone(path: str) -> bool:
    try:
        with os.scandir(path) as entries:
            return all(entry.name.endswith(_SUFFIXES) and entry.is_file() for entry in entries)
    except OSError:  # a file, for example
        return False


def _may_collect_others(config: pytest.Config) -> bool:
    """Whether a plugin finds tests in files other than Python's. A conftest may add one, so each folder asks again."""
    if config.getoption("doctestglob", None):
        return True
    # Not `config.hook`: before pytest 9 that has hooks about paths as functions, which do not tell who implements them.
    found = [impl for name in _HOOKS for impl in getattr(config.pluginmanager.hook, name).get_hookimpls()]
    # A function that was made by `exec` may have no module.
    return not all((impl.function.__module__ or "").startswith("_pytest.") for impl in found)
