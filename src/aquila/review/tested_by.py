"""Which tests use a cassette, and where they stand in their files. Modules are read, and not imported."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from aquila.cassettes.storage.names import module_of_folder
from aquila.cassettes.storage.recorded_uses import read_uses

_LARGEST_MODULE = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class TestPlace:
    """A test: how it is typed, its file if that is there, and the line (from 1) where it begins."""

    id: str
    file: Path | None = None
    line: int = 1


def find_tests(name: str, cassettes: Path, root: Path) -> list[TestPlace]:
    """Return the tests that use the cassette ``name`` of the folder ``cassettes``, as far as that is known.

    ``root`` is the folder to which the ids of tests are relative.
    """
    told = sorted(test for cassette, test in read_uses(cassettes) if cassette == name)
    if told:
        return [_locate(test, root) for test in told]
    return list(_find_by_name(name, root))


def _locate(test: str, root: Path) -> TestPlace:
    module, _, inside = test.partition("::")
    path = root / module
    return TestPlace(test, path, _line_of(path, _names_in(inside))) if path.is_file() else TestPlace(test)


def _names_in(inside: str) -> list[str]:
    return [name for name in inside.partition("[")[0].split("::") if name]


def _find_by_name(name: str, root: Path) -> Iterator[TestPlace]:
    """Yield the test whose name a cassette has, if its module is there and has it."""
    folder, _, own = name.rpartition("/")
    module = module_of_folder(folder)
    path = root / f"{module}.py" if module else None
    if path is None or not path.is_file():
        return
    names = re.split(r"[+-]|@", own.removesuffix(".msgpack"), maxsplit=1)[0].split(".")
    line = _line_of(path, names, missing=0)
    if line:
        yield TestPlace(f"{module}.py::{'::'.join(names)}", path, line)


def _line_of(path: Path, names: list[str], *, missing: int = 1) -> int:
    """Return the line of a class, or of a function in it; that of the last that is found. Else ``missing``."""
    try:
        if path.stat().st_size > _LARGEST_MODULE:
            return missing
        body: list[ast.stmt] = ast.parse(path.read_bytes()).body
    except (OSError, SyntaxError, ValueError, RecursionError):
        return missing
    line = missing
    for name in names:
        kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        found = next((each for each in body if isinstance(each, kinds) and each.name == name), None)
        if found is None:
            break
        line, body = found.lineno, found.body
    return line
