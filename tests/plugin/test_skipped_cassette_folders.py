"""pytest looks for no tests among cassettes, and finds every test that it would find without Aquila."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.plugin.conftest import Project

PYTHON_TEST = "def test_beside(): pass"
COLLECTOR = """
import pytest

class Row(pytest.Item):
    def runtest(self): pass

class Rows(pytest.File):
    def collect(self):
        return [Row.from_parent(self, name="row")]

def pytest_collect_file(file_path, parent):
    return Rows.from_parent(parent, path=file_path) if file_path.suffix == ".yaml" else None
"""
WATCH = """
import pytest

@pytest.hookimpl(tryfirst=True)
def pytest_ignore_collect(collection_path):
    with open("seen.txt", "a") as file:
        file.write(f"{collection_path.name}\\n")
"""


@pytest.fixture
def project(project: Project) -> Project:
    project.pytester.makeini("[pytest]\naquila_cassette_dir = kept\ntestpaths = kept")
    for name in ("kept/module/test_a.yaml", "kept/module/test_b.msgpack"):
        path = project.pytester.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("aquila: 1\ninteractions: []\n")
    return project


def test_cassettes_are_passed_over(project: Project) -> None:
    project.pytester.makeconftest(WATCH)
    (project.pytester.path / "kept/test_beside.py").write_text(PYTHON_TEST)
    project.pytester.runpytest().assert_outcomes(passed=1)
    seen = (project.pytester.path / "seen.txt").read_text().split()
    assert "test_beside.py" in seen
    assert not {"test_a.yaml", "test_b.msgpack"} & set(seen)


def add_test(project: Project) -> None:
    (project.pytester.path / "kept/module/test_beside.py").write_text(PYTHON_TEST)


def add_folder(project: Project) -> None:
    path = project.pytester.path / "kept/module/inner.yaml/test_beside.py"
    path.parent.mkdir()
    path.write_text(PYTHON_TEST)


def add_doctest(project: Project) -> None:
    project.pytester.makeini(
        "[pytest]\naquila_cassette_dir = kept\ntestpaths = kept\naddopts = --doctest-glob=*_c.yaml"
    )
    (project.pytester.path / "kept/module/test_c.yaml").write_text(">>> 1 + 1\n2\n")


def add_collector(project: Project) -> None:
    project.pytester.makeconftest(COLLECTOR)


def add_late_collector(project: Project) -> None:
    (project.pytester.path / "kept/conftest.py").write_text(COLLECTOR)


@pytest.mark.parametrize("add", [add_test, add_folder, add_doctest, add_collector, add_late_collector])
def test_whatever_is_a_test_is_found(project: Project, add: Callable[[Project], None]) -> None:
    add(project)
    project.pytester.runpytest().assert_outcomes(passed=1)
