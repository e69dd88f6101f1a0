"""Files of the standard library are known, however Python was installed."""

from __future__ import annotations

import json
import runpy
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from aquila.intercept import blocking_calls
from aquila.recording import installed_code


@pytest.fixture
def installed_through_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As in the Python of Homebrew: ``sysconfig`` names a link to the folder from which modules are loaded."""
    paths = sysconfig.get_paths()
    link = tmp_path / "python"
    link.symlink_to(paths["stdlib"])
    monkeypatch.setattr(sysconfig, "get_paths", lambda: {**paths, "stdlib": str(link), "platstdlib": str(link)})
    installed_code._standard_library.cache_clear()
    yield
    installed_code._standard_library.cache_clear()


@pytest.mark.usefixtures("installed_through_a_link")
def test_the_standard_library_is_known_where_it_is_installed_through_a_link(tmp_path: Path) -> None:
    assert installed_code.is_standard_library(json.__file__)
    assert installed_code.is_standard_library(str(tmp_path / "python" / "json" / "__init__.py"))
    assert not installed_code.is_standard_library(__file__)


@pytest.mark.usefixtures("installed_through_a_link")
def test_blocking_calls_of_the_standard_library_are_known_where_it_is_installed_through_a_link() -> None:
    is_between = runpy.run_path(blocking_calls.__file__)["_is_between"]
    assert is_between(json.__file__)
    assert not is_between(__file__)
