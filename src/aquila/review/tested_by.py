"""Finds the tests that use a cassette, and their lines. Modules are parsed, not imported."""

from __future__ import annotations

import ast
import contextlib
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from aquila.cassettes.storage.names import module_of_folder
from aquila.cassettes.storage.recorded_uses import USES_FILE, read_uses
from aquila.recording.reporting.gone_tests import names_in

_LARGEST_MODULE = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class TestPlace:
    """A test: its pytest id, its file if that exists, and the line, from 1, where it begins."""

    id: str
    file: Path | None = None
    line: int = 1


def find_tests(name: str, cassettes: Path, root: Path) -> list[TestPlace]:
    """Return the tests that are known to use the cassette ``name`` in the folder ``cassettes``.

    ``root`` is the folder to which the ids of tests are relative.
    """
    known = _tests_by_cassette(cassettes, state_of(cassettes / USES_FILE)).get(name)
    if known:
        return [_locate(test, root) for test in known]
    return list(_find_by_name(name, root))


def state_of(path: Path) -> tuple[int, ...] | None:
    """Return a value that changes when a file is written; None if it does not exist."""
    try:
        known = path.stat()
    except OSError:
        return None
    return known.st_mtime_ns, known.st_size, known.st_ino


# The state of the file is part of the key of both caches here, so a file that has changed is read again.
@functools.lru_cache(maxsize=8)
def _tests_by_cassette(cassettes: Path, _: tuple[int, ...] | None) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for cassette, test in sorted(read_uses(cassettes)):
        found.setdefault(cassette, []).append(test)
    return found


def _locate(test: str, root: Path) -> TestPlace:
    module, _, inside = test.partition("::")
    path = root / module
    return TestPlace(test, path, _line_of(path, names_in(inside))) if path.is_file() else TestPlace(test)


def _find_by_name(name: str, root: Path) -> Iterator[TestPlace]:
    """Yield the test or the class after which a cassette is named, if its module exists and contains it.

    A test that its class does not define counts, too, because the class may inherit it.
    """
    folder, _, own = name.rpartition("/")
    module = module_of_folder(folder)
    path = root / f"{module}.py" if module else None
    if path is None or not path.is_file():
        return
    names = names_in(own.removesuffix(".msgpack").partition("@")[0])  # before the `@` of a fixture is its class
    line = _line_of(path, names, missing=0)
    if line:
        yield TestPlace(f"{module}.py::{'::'.join(names)}", path, line)


def _line_of(path: Path, names: list[str], *, missing: int = 1) -> int:
    """Return the line of the innermost of nested ``names`` that exists; ``missing`` if none does."""
    places = _places_in(path, state_of(path))
    found = [places[tuple(names[:end])] for end in range(1, len(names) + 1) if tuple(names[:end]) in places]
    return found[-1] if found else missing


# The state of the file is part of the key, so a module that was edited meanwhile is read again.
@functools.lru_cache(maxsize=64)
def _places_in(path: Path, state: tuple[int, ...] | None) -> dict[tuple[str, ...], int]:
    """Return the lines of the classes and functions in a module, by their names; none if it cannot be parsed."""
    places: dict[tuple[str, ...], int] = {}
    if state is None or state[1] > _LARGEST_MODULE:
        return places

    def add(body: list[ast.stmt], outer: tuple[str, ...]) -> None:
        for each in body:
            if isinstance(each, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                names = (*outer, each.name)
                if names not in places:  # of several definitions with one name, the first
                    places[names] = each.lineno
                    add(each.body, names)

    # `ast.parse` raises `ValueError` for NUL bytes, and `RecursionError` for deeply nested code.
    with contextlib.suppress(OSError, SyntaxError, ValueError, RecursionError):
        add(ast.parse(path.read_bytes()).body, ())
    return places
