"""The folder that cassettes and the names of tests are relative to, from wherever pytest is started."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aquila.config import find_project_folder
from aquila.recording.runtime import Run

if TYPE_CHECKING:
    from pytest_aquila.run_news import News

RUN: pytest.StashKey[Run] = pytest.StashKey()
"""The run of a configuration: entered when pytest is configured, left when it is unconfigured."""

NEWS: pytest.StashKey[list[News]] = pytest.StashKey()
"""What the summary of a configuration's run is to tell besides its sums; see ``run_news``. A key must exist once."""


def find_root_folder(config: pytest.Config, cassette_dir: str) -> Path:
    """Return pytest's root folder, if an ini file says which it is. Else pytest takes the one in which it was started.

    Then it is that of the project around it, which ``find_project_folder`` finds by ``cassette_dir``, the name of the
    folder of cassettes.
    """
    return config.rootpath if config.inipath is not None else find_project_folder(config.rootpath, cassette_dir)


def root_of(config: pytest.Config) -> Path:
    """The root folder of a configured run, as ``find_root_folder`` found it."""
    return config.stash[RUN].layers.root
