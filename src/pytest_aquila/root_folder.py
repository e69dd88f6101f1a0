"""The folder that cassettes and the names of tests are relative to, from wherever pytest is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from aquila.recording.runtime import Run

RUN: pytest.StashKey[Run] = pytest.StashKey()
"""The run of a configuration: entered when pytest is configured, left when it is unconfigured."""

_MARKS = (".git", ".hg", "pyproject.toml", "setup.py", "setup.cfg")
"""What lies in the folder of a project."""


def find_root_folder(config: pytest.Config, cassette_dir: str) -> Path:
    """Return pytest's root folder, if an ini file says which it is. Else pytest takes the one in which it was started.

    Then it is the nearest folder, from there upward, that has cassettes; if there is none, the nearest that looks like
    that of a project. ``cassette_dir`` is the name of the folder of cassettes.
    """
    started = config.rootpath
    if config.inipath is not None:
        return started
    folders = (started, *started.parents)
    for folder in folders:
        if (folder / cassette_dir).is_dir():
            return folder
    return next((folder for folder in folders if any((folder / mark).exists() for mark in _MARKS)), started)


def root_of(config: pytest.Config) -> Path:
    """The root folder of a configured run, as ``find_root_folder`` found it."""
    return config.stash[RUN].layers.root
