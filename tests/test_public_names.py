"""The public names of the package: one table, lazy and typed."""

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path

import pytest

import aquila

ROOT = Path(aquila.__file__).parent


def test_every_name_of_the_table_resolves() -> None:
    assert {name: getattr(aquila, name) for name in aquila.__all__}
    assert set(aquila.__all__) <= set(dir(aquila))


def test_a_name_resolves_to_the_same_object_as_in_its_module() -> None:
    from aquila.events import Chunk
    from aquila.sinks import Sink

    assert aquila.Chunk is Chunk
    assert aquila.Sink is Sink


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'aquila' has no attribute 'aks'"):
        _ = aquila.aks


@pytest.mark.parametrize("name", ["aquila", "aquila.cassettes", "aquila.huey", "aquila.testing"])
def test_type_checkers_see_the_same_names_as_the_table(name: str) -> None:
    package = importlib.import_module(name)
    tree = ast.parse(inspect.getsource(package))
    block = next(node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    imported = {
        alias.asname: f"{node.module}.{alias.name}"
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname is not None
    }
    full = {
        public: f"{module if module.startswith('aquila.') else f'{name}.{module}'.rstrip('.')}.{public}"
        for public, module in package._NAMES.items()
    }
    assert imported == full


@pytest.mark.parametrize("package", ["aquila", "pytest_aquila"])
def test_packages_are_marked_as_typed(package: str) -> None:
    assert (ROOT.parent / package / "py.typed").exists()


def test_root_docstring_keeps_pytest_from_rewriting() -> None:
    assert "PYTEST_DONT_REWRITE" in (aquila.__doc__ or "")
