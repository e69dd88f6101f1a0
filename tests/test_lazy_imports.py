"""Modules that are imported when they are first used."""

from __future__ import annotations

import ast
import builtins
import importlib
import sys
import threading
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aquila import lazy_imports
from aquila.lazy_imports import LazyModule, lazy_modules
from tests.test_layers import imports, is_type_checking, modules, trees

MODULE = "antigravity_of_tests"


@pytest.fixture
def unloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a module that nothing has imported."""
    (tmp_path / f"{MODULE}.py").write_text("answer = 42\ndef double(number): return 2 * number\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield MODULE
    sys.modules.pop(MODULE, None)


def test_a_module_is_imported_at_its_first_use_and_replaces_its_placeholder(unloaded: str) -> None:
    namespace: dict[str, object] = {}
    lazy_modules(namespace, f"{unloaded} as lazy")
    assert unloaded not in sys.modules
    assert namespace["lazy"].double(3) == 6  # type: ignore[attr-defined]
    assert namespace["lazy"] is sys.modules[unloaded]


def test_a_table_is_written_like_the_imports_for_which_it_stands() -> None:
    namespace: dict[str, Any] = {}
    lazy_modules(namespace, "json", "os: path", "email.mime: audio, text as texts", "shlex as words")
    assert {name: lazy._module for name, lazy in namespace.items()} == {
        "json": "json",
        "path": "os.path",
        "audio": "email.mime.audio",
        "texts": "email.mime.text",
        "words": "shlex",
    }


def test_a_module_is_imported_while_a_test_replaces_the_import_function(
    unloaded: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    namespace: dict[str, object] = {}
    lazy_modules(namespace, f"{unloaded} as lazy")
    find = builtins.__import__

    def fake(name: str, globals: Any, locals: Any, fromlist: Any, level: int) -> Any:
        return find(name, globals, locals, fromlist, level)  # as an import statement calls it: with all arguments

    with monkeypatch.context() as patch:
        patch.setattr(builtins, "__import__", fake)
        answer = namespace["lazy"].answer  # type: ignore[attr-defined]
    assert answer == 42


class Patcher:
    """As pyfakefs keeps its false file system: in force until it is set aside."""

    PATCHER: Patcher | None = None

    def __init__(self) -> None:
        self.is_patching = True
        self.steps: list[str] = []

    def pause(self) -> None:
        self.is_patching = False
        self.steps.append(f"paused before {MODULE in sys.modules}")

    def resume(self) -> None:
        self.is_patching = True
        self.steps.append(f"resumed after {MODULE in sys.modules}")


def test_the_fake_file_system_of_pyfakefs_is_paused_for_an_import(
    unloaded: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Patcher, "PATCHER", Patcher())
    pyfakefs = types.SimpleNamespace(Patcher=Patcher)
    monkeypatch.setitem(sys.modules, "pyfakefs.fake_filesystem_unittest", pyfakefs)  # type: ignore[arg-type]
    for _ in range(2):  # what is loaded needs nothing
        namespace: dict[str, object] = {}
        lazy_modules(namespace, f"{unloaded} as lazy")
        assert namespace["lazy"].answer == 42  # type: ignore[attr-defined]
    assert Patcher.PATCHER is not None
    assert Patcher.PATCHER.steps == ["paused before False", "resumed after True"]


def test_ctrl_c_before_an_import_leaves_nothing_that_a_fork_would_wait_for(
    unloaded: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted(Patcher):
        def pause(self) -> None:
            super().pause()
            raise KeyboardInterrupt

    files = Interrupted()
    monkeypatch.setattr(Patcher, "PATCHER", files)
    pyfakefs = types.SimpleNamespace(Patcher=Patcher)
    monkeypatch.setitem(sys.modules, "pyfakefs.fake_filesystem_unittest", pyfakefs)  # type: ignore[arg-type]
    with pytest.raises(KeyboardInterrupt):
        lazy_imports.import_module(unloaded)
    assert (threading.get_ident() in lazy_imports._importing, files.is_patching) == (False, True)


def test_modules_that_sys_modules_has_lost_are_not_imported_a_second_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a run of pytester in this process, which forgets all that was imported in it."""
    newest, other = "aquila.spelling", "aquila.cassettes.codecs.yaml.tree"
    for name in (newest, other):
        importlib.import_module(name)
    monkeypatch.setattr(lazy_imports, "_newest", [newest])
    known = {name: sys.modules[name] for name in (newest, other, "aquila.cassettes.codecs.yaml")}
    for name in known:
        monkeypatch.delitem(sys.modules, name)
    assert lazy_imports.import_module(newest) is known[newest]
    assert {name: sys.modules.get(name) for name in known} == known


def test_inspecting_a_namespace_imports_nothing(unloaded: str) -> None:
    # pytest asks each name of a plugin or a conftest for these, to find fixtures.
    namespace: dict[str, object] = {}
    lazy_modules(namespace, f"{unloaded} as lazy")
    for name in ("_mock_name", "__wrapped__", "__file__", "_private"):
        assert not hasattr(namespace["lazy"], name)
    assert unloaded in repr(namespace["lazy"])
    assert unloaded not in sys.modules


def test_a_kept_placeholder_still_works_after_the_import(unloaded: str) -> None:
    namespace: dict[str, object] = {}
    lazy_modules(namespace, f"{unloaded} as lazy")
    kept = namespace["lazy"]
    assert kept.answer == 42  # type: ignore[attr-defined]
    assert not isinstance(kept, types.ModuleType)
    assert kept.double(1) == 2  # type: ignore[attr-defined]


def test_missing_names_and_modules_raise_the_usual_errors(unloaded: str) -> None:
    namespace: dict[str, object] = {}
    lazy_modules(namespace, f"{unloaded} as lazy", "no_such_module_of_tests as missing")
    with pytest.raises(AttributeError, match=unloaded):
        _ = namespace["lazy"].nothing  # type: ignore[attr-defined]
    with pytest.raises(ModuleNotFoundError, match="no_such_module_of_tests"):
        _ = namespace["missing"].anything  # type: ignore[attr-defined]


def test_no_star_import_copies_a_placeholder() -> None:
    # Where a star import takes it along, every use of it would go through it again, and it may hide a loaded module.
    wrong = []
    for name, path in modules().items():
        if "import *" in path.read_text(encoding="utf-8"):
            namespace = vars(importlib.import_module(name))
            wrong += [
                f"{name}.{known_as}"
                for known_as, value in namespace.items()
                if isinstance(value, LazyModule) and value._namespace is not namespace
            ]
    assert wrong == []


def lazy_tables(tree: ast.Module) -> Iterator[tuple[set[tuple[str, str]], set[tuple[str, str]]]]:
    """For each table of lazy modules: its rows, and the imports for type checkers, as pairs of name and module."""
    for node in tree.body:
        if not (isinstance(node, ast.If) and is_type_checking(node.test)):
            continue
        for statement in node.orelse:
            match statement:
                case ast.Expr(value=ast.Call(func=ast.Name(id="lazy_modules"), args=[_, *rows])):
                    table = dict[str, Any]()
                    lazy_modules(table, *map(ast.literal_eval, rows))
                    yield {(name, lazy._module) for name, lazy in table.items()}, set(imported_names(node.body))


def imported_names(body: list[ast.stmt]) -> Iterator[tuple[str, str]]:
    for statement in body:
        if isinstance(statement, ast.Import):
            yield from ((alias.asname or alias.name, alias.name) for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom):
            yield from ((alias.asname or alias.name, f"{statement.module}.{alias.name}") for alias in statement.names)


def test_type_checkers_and_the_layers_test_see_every_lazy_module() -> None:
    found = 0
    for name, path in modules().items():
        if "lazy_modules" not in path.read_text(encoding="utf-8"):
            continue
        tree = trees()[name]
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == "lazy_modules"]
        tables = list(lazy_tables(tree))
        assert len(tables) == len(calls), f"{name}: a table stands in the else of `if TYPE_CHECKING:`"
        for table, told in tables:
            assert table - told == set(), name
            found += len(table)
    assert found > 50


def test_few_imports_are_inside_functions() -> None:
    inside = [one for one in imports() if not one.on_load and not one.for_types]
    assert len(inside) <= 8, "\n".join(map(str, inside))
