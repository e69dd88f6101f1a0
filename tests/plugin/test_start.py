"""How the plugin is found and loaded when pytest starts, in ways that take little time and mean the same."""

from __future__ import annotations

import importlib.util
import os
import py_compile
import shutil
import sys
import zipfile
from collections.abc import Callable
from importlib.machinery import PathFinder, SourceFileLoader
from pathlib import Path
from typing import Any

import pytest

import pytest_aquila
from pytest_aquila import OrdinaryFinder, plugin
from tests.test_layers import modules


def test_the_finder_finds_of_every_module_what_pythons_own_finds() -> None:
    root = Path(pytest_aquila.__file__).parent.parent
    for name in modules():
        *packages, _ = name.split(".")
        expected: Any = PathFinder.find_spec(name, [str(root.joinpath(*packages))])
        found: Any = OrdinaryFinder.find_spec(name, [str(root.joinpath(*packages))] if packages else None)
        assert found.loader.get_code(name) == expected.loader.get_code(name)
        assert found == expected


def test_the_finder_names_compiled_modules_as_python_does_wherever_it_keeps_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for prefix in (None, str(tmp_path)):
        monkeypatch.setattr(sys, "pycache_prefix", prefix)
        for module in (plugin, pytest_aquila):
            found = OrdinaryFinder.find_spec(module.__name__, pytest_aquila.__path__ if module is plugin else None)
            assert found is not None
            assert found.origin is not None
            assert found.cached == importlib.util.cache_from_source(found.origin)


def test_the_finder_finds_the_same_while_a_test_replaces_what_the_system_tells_of_files(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    usual = OrdinaryFinder.find_spec("pytest_aquila.summary", pytest_aquila.__path__)
    told = os.stat(__file__)
    monkeypatch.setattr(os, "stat", lambda *_, **__: told)
    found = OrdinaryFinder.find_spec("pytest_aquila.summary", pytest_aquila.__path__)
    monkeypatch.undo()
    assert usual is not None
    assert found is not None
    assert found.origin == usual.origin


def test_the_finder_leaves_to_pythons_own_what_is_not_in_a_folder(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("aquila/module.py", "")
    found = OrdinaryFinder.find_spec("aquila.module", [str(tmp_path / "all.zip" / "aquila")])
    assert found is not None
    assert type(found.loader).__name__ == "zipimporter"
    assert OrdinaryFinder.find_spec("aquila.module", [str(tmp_path)]) is None
    assert OrdinaryFinder.find_spec("aquilae", None) is None


def write_module(folder: Path, source: str = "answer = 42\n") -> Path:
    """Write ``aquila/module.py`` into a folder and compile it as Python does; return where the compiled module is."""
    (folder / "aquila").mkdir(parents=True, exist_ok=True)
    (folder / "aquila" / "module.py").write_text(source)
    return Path(py_compile.compile(str(folder / "aquila" / "module.py"), doraise=True) or "")


def load_by_finder(folder: Path) -> dict[str, Any]:
    """Execute ``aquila/module.py`` of a folder as an import does, and return its names."""
    spec = OrdinaryFinder.find_spec("aquila.module", [str(folder / "aquila")])
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    assert spec.loader is not None
    spec.loader.exec_module(module)
    assert type(module.__loader__) is type(spec.loader) is SourceFileLoader
    return vars(module)


def test_a_compiled_module_that_is_up_to_date_is_read_without_pythons_loader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_module(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(SourceFileLoader, "get_code", lambda *given: pytest.fail("read in Python's way"))
        assert load_by_finder(tmp_path)["answer"] == 42


def change_source(compiled: Path) -> None:
    compiled.parent.parent.joinpath("module.py").write_text("answer = 4242\n")


def touch_source(compiled: Path) -> None:
    source = compiled.parent.parent / "module.py"
    source.write_text("answer = 43\n")
    os.utime(source, (1, 1))


def compile_by_hash(compiled: Path) -> None:
    mode = py_compile.PycInvalidationMode.CHECKED_HASH
    py_compile.compile(str(compiled.parent.parent / "module.py"), invalidation_mode=mode)
    touch_source(compiled)


def compile_for_elsewhere(compiled: Path) -> None:
    py_compile.compile(str(compiled.parent.parent / "module.py"), dfile="/elsewhere/module.py")


def write_for_another_python(compiled: Path) -> None:
    compiled.write_bytes(b"\0\0\r\n" + compiled.read_bytes()[4:])


@pytest.mark.parametrize(
    ("change", "answer"),
    [
        (lambda compiled: shutil.rmtree(compiled.parent), 42),
        (lambda compiled: compiled.write_bytes(b""), 42),
        (lambda compiled: compiled.write_bytes(compiled.read_bytes()[:15]), 42),
        (write_for_another_python, 42),
        (change_source, 4242),
        (touch_source, 43),
        (compile_by_hash, 43),
        (compile_for_elsewhere, 42),
    ],
    ids=["missing", "empty", "cut", "of another Python", "other size", "other time", "by hash", "moved"],
)
def test_an_unusual_compiled_module_is_left_to_pythons_loader(
    tmp_path: Path, change: Callable[[Path], Any], answer: int
) -> None:
    change(write_module(tmp_path))
    loaded = load_by_finder(tmp_path)
    assert loaded["answer"] == answer
    code = loaded["__loader__"].get_code("aquila.module")
    assert code.co_filename == str(tmp_path / "aquila" / "module.py")


def test_a_damaged_compiled_module_fails_as_in_python(tmp_path: Path) -> None:
    compiled = write_module(tmp_path)
    compiled.write_bytes(compiled.read_bytes()[:-40])
    with pytest.raises(EOFError, match="marshal data too short"):
        load_by_finder(tmp_path)


def test_a_module_that_is_longer_than_any_of_aquilas_is_read_whole(tmp_path: Path) -> None:
    write_module(tmp_path, f"text = {'a' * 100_000!r}\nanswer = len(text)\n")
    assert load_by_finder(tmp_path)["answer"] == 100_000


@pytest.mark.parametrize("taken_away", [(), ("-p", "no:aquila")])
def test_all_hooks_come_and_go_with_the_plugin(pytester: pytest.Pytester, taken_away: tuple[str, ...]) -> None:
    config = pytester.parseconfig("-p", "aquila", *taken_away)
    hooks = [
        caller.name
        for caller in vars(config.pluginmanager.hook).values()  # pytest 8 has a proxy of it in `config.hook`
        for hook in caller.get_hookimpls()
        if getattr(hook.function, "__module__", "").startswith("pytest_aquila")
    ]
    if taken_away:
        assert hooks == []
    else:
        assert sorted(hooks) == sorted(name for name in vars(plugin) if name.startswith("pytest_"))


def test_pytest_is_shown_hooks_and_nothing_else(pytester: pytest.Pytester) -> None:
    # It inspects every name that `dir` returns for a plugin, which takes a tenth of a millisecond for each in a module.
    config = pytester.parseconfig("-p", "aquila")
    shown = [dir(each) for each in config.pluginmanager.get_plugins() if type(each).__module__ == plugin.__name__]
    assert len(shown) == 1
    assert {*shown[0], *dir(plugin)} == {name for name in vars(plugin) if name.startswith("pytest_")}
    assert len(dir(plugin)) == 3


@pytest.mark.parametrize("key", ["aquila_vcr_compat", "aquila_pytest_vcr_compat", "aquila_cassetter_compat"])
def test_a_key_that_is_neither_true_nor_false_is_named(pytester: pytest.Pytester, key: str) -> None:
    result = pytester.runpytest_inprocess("-o", f"{key}=maybe")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: ini file: {key}: *'maybe'; write true or false"])
