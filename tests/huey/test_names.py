"""The public names of aquila.huey: one table, lazy, typed, and light to import."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import aquila.huey
import aquila.huey.live
import aquila.huey.testing
import aquila.testing
from pytest_aquila.tasks import short_names, task_fixtures


def full_names():
    """The modules of the names of aquila.huey: those of other packages are written in full."""
    return {
        name: module if module.startswith("aquila.") else f"aquila.huey.{module}"
        for name, module in aquila.huey._NAMES.items()
    }


def test_every_name_of_the_table_resolves_to_the_object_of_its_module():
    for name in aquila.huey.__all__:
        value = getattr(aquila.huey, name)
        assert getattr(sys.modules[full_names()[name]], name) is value
        assert not isinstance(value, type(sys)), f"{name} is a module"
    with pytest.raises(AttributeError, match="no attribute 'RedisHuy'"):
        _ = aquila.huey.RedisHuy


@pytest.mark.parametrize("package", [aquila.huey.testing, aquila.testing])
def test_the_names_for_tests_resolve_to_the_objects_of_their_modules(package):
    for name in package.__all__:
        assert getattr(package, name) is getattr(sys.modules[package._NAMES[name]], name)
    with pytest.raises(AttributeError, match="no attribute 'perform_jobs'"):
        _ = package.perform_jobs


@pytest.mark.parametrize("package", [aquila.huey, aquila.huey.live, aquila.huey.testing, aquila.testing])
def test_type_checkers_see_the_same_names(package):
    tree = ast.parse(Path(package.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.asname: node.module for node in block.body for alias in node.names}
    if package is aquila.huey:
        assert seen == full_names()
    else:
        prefix = f"{package.__name__}." if package is aquila.huey.live else ""
        assert seen == {name: prefix + module for name, module in package._NAMES.items()}


def test_every_fixture_for_tasks_has_a_public_type():
    others = {"aquila_huey", "aquila_huey_storage", "aquila_tasks"}
    fixtures = set(task_fixtures.__all__) - others
    assert fixtures == {f"aquila_{name}" for name in short_names.NAMES}
    assert {name.title().replace("_", "") for name in short_names.NAMES} <= set(aquila.testing.__all__)


@pytest.mark.parametrize(
    "statement", ["import aquila.huey", "import aquila.testing", "from aquila.testing import PerformJob"]
)
def test_importing_the_package_does_not_import_huey(statement):
    code = f"import sys; {statement}; print(sorted({{'huey', 'msgpack', 'openai'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
