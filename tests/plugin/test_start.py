"""How the plugin is found and loaded when pytest starts, in ways that take little time and mean the same."""

from __future__ import annotations

import importlib.util
import sys
import zipfile
from importlib.machinery import PathFinder
from pathlib import Path

import pytest

import pytest_aquila
from pytest_aquila import OrdinaryFinder, plugin
from tests.test_layers import modules


def test_the_finder_finds_of_every_module_what_pythons_own_finds() -> None:
    root = Path(pytest_aquila.__file__).parent.parent
    for name in modules():
        *packages, _ = name.split(".")
        found = PathFinder.find_spec(name, [str(root.joinpath(*packages))])
        assert found is not None
        assert OrdinaryFinder.find_spec(name, [str(root.joinpath(*packages))] if packages else None) == found


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


def test_the_finder_leaves_to_pythons_own_what_is_not_in_a_folder(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("aquila/module.py", "")
    found = OrdinaryFinder.find_spec("aquila.module", [str(tmp_path / "all.zip" / "aquila")])
    assert found is not None
    assert type(found.loader).__name__ == "zipimporter"
    assert OrdinaryFinder.find_spec("aquila.module", [str(tmp_path)]) is None
    assert OrdinaryFinder.find_spec("aquilae", None) is None


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
