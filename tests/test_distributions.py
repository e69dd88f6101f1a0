"""The two projects of this repository, the library's and the plugin's, agree where they must."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hatchling.builders.sdist import SdistBuilder

from tests.test_layers import SOURCE

ROOT = SOURCE.parent


def read_project(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))


LIBRARY, PLUGIN = read_project(ROOT), read_project(ROOT / "plugin")


@pytest.mark.parametrize("field", ["version", "description", "license", "requires-python", "keywords"])
def test_both_have_the_same_metadata(field: str) -> None:
    assert PLUGIN["project"][field] == LIBRARY["project"][field]


def test_both_have_one_page_and_one_licence() -> None:
    page = ("tool", "hatch", "metadata", "hooks", "fancy-pypi-readme")
    library, plugin = LIBRARY, PLUGIN
    for name in page:
        library, plugin = library[name], plugin[name]
    assert plugin == library
    for name in ("README.md", "LICENSE"):
        assert (ROOT / "plugin" / name).read_bytes() == (ROOT / name).read_bytes()


def test_the_plugin_needs_the_library_of_its_own_version() -> None:
    assert f"aquila-llm=={LIBRARY['project']['version']}" in PLUGIN["project"]["dependencies"]


def test_each_extra_of_the_library_is_one_of_the_plugin() -> None:
    extras = LIBRARY["project"]["optional-dependencies"]
    assert PLUGIN["project"]["optional-dependencies"] == {extra: [f"aquila-llm[{extra}]"] for extra in extras}


def test_only_the_plugin_is_known_to_pytest_and_only_it_needs_pytest() -> None:
    assert PLUGIN["project"]["entry-points"] == {"pytest11": {"aquila": "pytest_aquila.plugin"}}
    assert "entry-points" not in LIBRARY["project"]
    needed = [LIBRARY["project"]["dependencies"], *LIBRARY["project"]["optional-dependencies"].values()]
    assert not [requirement for row in needed for requirement in row if requirement.startswith("pytest")]


def test_the_source_distribution_holds_no_folder_elsewhere_that_is_called_like_one_of_its_own() -> None:
    files = SdistBuilder(str(ROOT)).recurse_included_files()
    held = {file.distribution_path.partition("/")[0] for file in files}
    assert held == {"src", "docs", "examples", "README.md", "CHANGELOG.md", "LICENSE"}
