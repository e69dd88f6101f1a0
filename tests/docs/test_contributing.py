"""The plan in ``CONTRIBUTING.md`` names files that exist, and every package has its place in it."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.docs.snippets import REPOSITORY

PAGE = REPOSITORY / "CONTRIBUTING.md"
SOURCE = REPOSITORY / "src"


def planned_paths() -> Iterator[Path]:
    """The files and folders of the plan. The indentation of a line shows its folder."""
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


def told_by(folder: Path) -> set[str]:
    """The modules and rooms of a folder that its docstring names: as ``module``, ``module.py`` or ``room.module``."""
    return set(re.findall(r"``(\w+)(?:\.\w+)*/?``", read_docstring(folder)))


def read_docstring(folder: Path) -> str:
    return ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))) or ""


def contents_of(folder: Path) -> set[str]:
    """The modules and rooms of a folder. Not subcommands, which are named after their command."""
    modules = {path.stem for path in folder.glob("*.py")}
    rooms = {path.parent.name for path in folder.glob("*/__init__.py")}
    return {name for name in modules | rooms if not name.startswith(("__", "cassettes_", "dead_letters_"))}


def test_the_docstring_of_a_folder_says_where_to_begin_and_names_each_module() -> None:
    # Whoever opens a folder begins with its docstring. That another folder has a module of this name is no help there.
    packages = {path.parent for path in SOURCE.rglob("__init__.py")} - {SOURCE / "aquila"}
    without = [str(package) for package in packages if not re.search(r"[Bb]egins?\b", read_docstring(package))]
    assert without == [], "say where to begin reading"
    untold = {str(package.relative_to(SOURCE)): contents_of(package) - told_by(package) for package in packages}
    assert {package: names for package, names in untold.items() if names} == {}


@cache
def resolve(name: str, folder: Path) -> Path | None:
    """Find the module or room that a dotted name means in a folder: there, or in one around it."""
    for around in (folder, *folder.parents):
        path = around.joinpath(*name.split("."))
        for found in (path.with_suffix(".py"), path.with_suffix(".pyi"), path / "__init__.py"):
            if found.exists():
                return found
        if around == SOURCE:
            return None
    return None


@cache
def words_of(module: Path) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", module.read_text(encoding="utf-8")))


def test_names_in_docstrings_of_folders_exist() -> None:
    # A name that several folders have is written with its folder, so that readers find it.
    files = [path for path in SOURCE.rglob("*.py") if path.name != "__init__.py"]
    known = frozenset[str]().union(*map(words_of, files)) - {path.stem for path in files}
    known |= {"use_cassette"}  # a function, too
    gone = []
    for path in SOURCE.rglob("__init__.py"):
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        for name in re.findall(r"``(?:aquila_)?([a-z_]\w*(?:\.(?!js|css)[a-z_]\w*)*)/?``", docstring):
            bare = name.removesuffix(".py")
            if resolve(bare, path.parent) is None and not known.issuperset(bare.split(".")):
                gone.append(f"{path.parent.relative_to(SOURCE)} names {name}")
    assert gone == []


def test_names_in_comments_and_in_this_page_exist() -> None:
    gone = []
    for path in (*SOURCE.rglob("*.py"), PAGE):
        text = path.read_text(encoding="utf-8")
        folder = path.parent if path is not PAGE else SOURCE / "aquila"
        dotted = re.findall(r"(?<![\"'\w./])((?:pytest_)?aquila(?:\.[a-z_]\w+)+)(?![\w\"'-])", text)
        constants = re.findall(r"`([a-z_]\w*(?:\.[a-z_]\w*)*\.[A-Z][A-Z_]+)`", text)
        gone += [f"{path.name} names {name}" for name in {*dotted, *constants} if not names_something(name, folder)]
    assert gone == []


def names_something(name: str, folder: Path) -> bool:
    """Whether a dotted name is one of a module here or of Python's, or of something within one."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        module = resolve(".".join(parts[:length]), folder)
        if module is not None:
            return words_of(module).issuperset(parts[length : length + 1])
    return parts[0] in sys.stdlib_module_names


def test_each_module_of_the_root_is_in_the_plan() -> None:
    # The docstring of the root is for users.
    planned = {path.stem for path in planned_paths() if path.parent == SOURCE / "aquila"}
    assert contents_of(SOURCE / "aquila") - planned == set()


def test_the_journeys_and_recipes_name_what_exists() -> None:
    told = PAGE.read_text(encoding="utf-8").split("## Five journeys")[1].split("\n## Style")[0]
    named = re.findall(r"`([\w/]+(?:\.py|/))`", told)
    assert len(named) > 100
    tops = [REPOSITORY / "tests", SOURCE]
    existing = {f"/{path.relative_to(REPOSITORY).as_posix()}" for top in tops for path in top.rglob("*")}
    existing |= {f"/{path.name}" for path in REPOSITORY.iterdir()}
    assert [name for name in named if not any(path.endswith(f"/{name.rstrip('/')}") for path in existing)] == []


def test_the_places_to_change_something_are_full_paths() -> None:
    # `table.py` alone could be any of several.
    rows = PAGE.read_text(encoding="utf-8").split("## Where do I change …?")[1].split("\n\nSome features span")[0]
    places = re.findall(r"`([\w/]+(?:\.py|/))`", rows)
    assert len(places) > 40
    roots = (SOURCE / "aquila", SOURCE)
    beside = {"stream_reader.py"}  # beside the one that its row names
    assert [name for name in places if name not in beside and not any((root / name).exists() for root in roots)] == []
