"""The public names of aquila.huey: one table, lazy, typed, and light to import."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import aquila.huey
import aquila.huey.testing


def test_every_name_of_the_table_resolves_to_the_object_of_its_module():
    for name in aquila.huey.__all__:
        value = getattr(aquila.huey, name)
        assert getattr(sys.modules[f"aquila.huey.{aquila.huey._NAMES[name]}"], name) is value
        assert not isinstance(value, type(sys)), f"{name} is a module"
    with pytest.raises(AttributeError, match="no attribute 'RedisHuy'"):
        _ = aquila.huey.RedisHuy


def test_type_checkers_see_the_same_names():
    tree = ast.parse(Path(aquila.huey.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.asname: node.module.rpartition(".")[2] for node in block.body for alias in node.names}
    assert seen == aquila.huey._NAMES


def test_the_functions_for_tests_are_listed():
    assert {name for name in aquila.huey.testing.__all__ if not hasattr(aquila.huey.testing, name)} == set()


def test_importing_the_package_does_not_import_huey():
    code = "import sys, aquila.huey; print(sorted({'huey', 'msgpack', 'openai'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
