"""The plan in ``CONTRIBUTING.md`` names files that exist, and every package has its place in it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.docs.snippets import REPOSITORY

PAGE = REPOSITORY / "CONTRIBUTING.md"
SOURCE = REPOSITORY / "src"


def planned_paths() -> Iterator[Path]:
    """The files and folders of the plan. Indentation says which folder a line is in."""
    plan = PAGE.read_text(encoding="utf-8").split("```\nsrc/aquila/\n")[1].split("```")[0]
    folders = {0: SOURCE, 2: SOURCE / "aquila"}
    for line in plan.splitlines():
        indent = len(line) - len(line.lstrip())
        if indent > 8:
            continue  # the description of the line above
        names = re.split(r"\s{2,}", line.strip())[0].removeprefix("src/")
        for name in names.split(", "):
            if name.strip(",") != "...":
                yield folders[indent] / name.strip(",")
        if names.endswith("/"):
            folders[indent + 2] = folders[indent] / names.split(", ")[-1]


def test_the_plan_names_what_exists() -> None:
    paths = list(planned_paths())
    assert len(paths) > 80
    assert [str(path) for path in paths if not path.exists()] == []
    assert [str(path) for path in paths if paths.count(path) > 1] == []


def test_every_package_is_in_the_plan() -> None:
    packages = {path.parent for path in SOURCE.rglob("__init__.py")} - {SOURCE / "aquila"}
    described = set(planned_paths())
    assert {str(package) for package in packages - described} == set()


def test_every_folder_of_tests_is_in_the_plan_or_named_after_what_it_tests() -> None:
    plan = PAGE.read_text(encoding="utf-8").split("```\ntests/\n")[1].split("```")[0]
    planned = set(re.findall(r"^  (\w+)/ ", plan, re.M))
    tests = REPOSITORY / "tests"
    folders = {path.name for path in tests.iterdir() if path.is_dir() and not path.name.startswith(("_", "."))}
    tested = {path.name for path in (SOURCE / "aquila").iterdir() if path.is_dir()}
    assert (folders - tested - planned, planned - folders) == (set(), set())


def test_each_module_is_named_in_the_plan_or_by_its_folder() -> None:
    """A reader of the plan and of a folder's docstring hears of every module. Subcommands are named after theirs."""
    plan = PAGE.read_text(encoding="utf-8")
    untold = []
    for path in SOURCE.rglob("*.py"):
        if path.stem.startswith(("__", "cassettes_", "dead_letters_", "sitecustomize")):
            continue
        package = path.parent / "__init__.py"
        docstring = ast.get_docstring(ast.parse(package.read_text(encoding="utf-8"))) if package.exists() else None
        if path.name not in plan and not re.search(rf"\b{path.stem}\b", docstring or ""):
            untold.append(path.relative_to(SOURCE).as_posix())
    assert untold == []


def test_the_journeys_name_what_exists() -> None:
    journeys = PAGE.read_text(encoding="utf-8").split("## Five journeys")[1].split("\n## Adding")[0]
    named = re.findall(r"`([\w/]+\.py)`", journeys)
    assert len(named) > 50
    existing = {path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.py")}
    assert [name for name in named if not any(path.endswith(f"/{name}") or path == name for path in existing)] == []
