"""Patches are put in force once, whoever needs them, and put back exactly."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
import zipfile
import zipimport
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from aquila import transports
from aquila.intercept import activation
from aquila.intercept.connections import compiled_clients, kept_originals, native_clients
from aquila.intercept.http_clients import other_clients
from aquila.intercept.patching import ImportHooks, Patch, PatchSet
from aquila.intercept.web_sockets import clients


class Base:
    def inherited(self) -> str:
        return "theirs"


class Client(Base):
    def own(self) -> str:
        return "theirs"


def patched(original: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self: f"ours around {original(self)}"


def patch_client(module: ModuleType) -> Iterable[Patch]:
    yield Patch(Client, "own", patched)
    yield Patch(Client, "inherited", patched)


@pytest.fixture
def patches() -> PatchSet:
    return PatchSet(ImportHooks(), {__name__: patch_client})


def test_patches_last_until_the_last_holder_withdraws(patches: PatchSet) -> None:
    before, finders = dict(Client.__dict__), list(sys.meta_path)
    patches.put_in_force("one")
    patches.put_in_force("two")
    patches.put_in_force("two")
    patches.withdraw("one")
    patches.withdraw("a stranger")
    assert Client().own() == Client().inherited() == "ours around theirs"
    patches.withdraw("two")
    assert not patches.in_force
    assert dict(Client.__dict__) == before
    assert sys.meta_path == finders


def test_a_patch_that_fails_leaves_nothing_behind_and_the_next_holder_patches() -> None:
    fails = [True]

    def patch(module: ModuleType) -> Iterable[Patch]:
        yield Patch(Client, "own", patched)
        if fails:
            raise RuntimeError("cannot be patched")

    patches = PatchSet(ImportHooks(), {__name__: patch})
    finders = list(sys.meta_path)
    with pytest.raises(RuntimeError, match="cannot be patched"):
        patches.put_in_force("one")
    assert not patches.in_force
    assert Client().own() == "theirs"
    assert sys.meta_path == finders
    fails.clear()
    patches.put_in_force("two")
    assert Client().own() == "ours around theirs"
    patches.withdraw("two")
    assert Client().own() == "theirs"


def test_what_a_tool_has_put_back_is_patched_again_and_what_it_put_on_top_is_not(patches: PatchSet) -> None:
    before, kept = dict(Client.__dict__), (Client.own, Client.inherited)
    patches.put_in_force("holder")
    Client.own, Client.inherited = kept  # type: ignore[method-assign]
    patches.renew()
    assert Client().own() == Client().inherited() == "ours around theirs"
    Client.own = lambda self: "on top"  # type: ignore[method-assign]
    patches.renew()
    assert Client().own() == "on top"
    Client.own = kept[0]  # type: ignore[method-assign]
    patches.withdraw("holder")
    assert dict(Client.__dict__) == before


def test_the_same_replacements_are_put_in_place_again_unless_there_is_something_else(
    patches: PatchSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, made = dict(Client.__dict__), []
    for _ in range(2):
        patches.put_in_force("holder")
        made.append((Client.own, Client.inherited))
        patches.withdraw("holder")
    assert made[0] == made[1]
    assert dict(Client.__dict__) == before
    monkeypatch.setattr(Base, "inherited", lambda self: "the tool's")
    for _ in range(2):
        patches.put_in_force("holder")
        assert Client().own() == "ours around theirs"
        assert Client().inherited() == "ours around the tool's"
        patches.withdraw("holder")
    monkeypatch.undo()
    with monkeypatch.context() as replacing:
        replacing.setattr(sys.modules[__name__], "Client", type("Client", (Base,), {"own": Base.inherited}))
        patches.put_in_force("holder")
        assert Client().own() == "ours around theirs"
        patches.withdraw("holder")
    patches.put_in_force("holder")
    assert Client().own() == Client().inherited() == "ours around theirs"
    patches.withdraw("holder")
    assert dict(Client.__dict__) == before


def test_a_module_that_is_loaded_again_in_a_block_is_patched_and_put_back_as_it_is_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classes = f"from {__name__} import Base as Old\nclass New:\n    def inherited(self): return 'theirs'\n"
    (tmp_path / "reloaded_library.py").write_text(classes)
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("reloaded_library")
    monkeypatch.setitem(sys.modules, "reloaded_library", module)

    def patch(module: ModuleType) -> Iterable[Patch]:
        yield from (Patch(owner, "inherited", patched) for owner in (module.Old, module.New))

    patches = PatchSet(ImportHooks(), {"reloaded_library": patch})
    for _ in range(2):
        patches.put_in_force("holder")
        importlib.reload(module)
        assert module.Old().inherited().startswith("ours around ")
        assert module.New().inherited() == "ours around theirs"
        patches.withdraw("holder")
        assert Base().inherited() == module.New().inherited() == "theirs"


def test_a_patch_that_a_tool_put_on_top_stays(patches: PatchSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Client, "own", Client.own)  # what is there now comes back after the test
    patches.put_in_force("one")
    ours = Client.own

    def on_top(self: Client) -> str:
        return f"the tool's around {ours(self)}"

    Client.own = on_top
    patches.withdraw("one")
    assert Client.own is on_top
    assert "inherited" not in Client.__dict__


def test_a_library_is_patched_when_it_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "late_library.py").write_text("class Client:\n    def own(self): return 'theirs'\n")
    monkeypatch.syspath_prepend(tmp_path)
    patches = PatchSet(ImportHooks(), {"late_library": lambda module: [Patch(module.Client, "own", patched)]})
    patches.put_in_force("one")
    assert "late_library" not in sys.modules
    library: Any = __import__("late_library")
    del sys.modules["late_library"]
    assert library.Client().own() == "ours around theirs"
    patches.withdraw("one")
    assert library.Client().own() == "theirs"


def test_a_library_that_is_imported_while_another_one_is_patched_is_patched_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "late_library.py").write_text("class Client:\n    def own(self): return 'theirs'\n")
    monkeypatch.syspath_prepend(tmp_path)

    def patch_first(module: ModuleType) -> Iterable[Patch]:
        yield Patch(Client, "own", patched)
        importlib.import_module("late_library")

    def patch_late(module: Any) -> Iterable[Patch]:
        yield Patch(module.Client, "own", patched)

    patches = PatchSet(ImportHooks(), {__name__: patch_first, "late_library": patch_late})
    patches.put_in_force("one")
    library: Any = sys.modules["late_library"]
    del sys.modules["late_library"]
    assert Client().own() == library.Client().own() == "ours around theirs"
    patches.withdraw("one")
    assert Client().own() == library.Client().own() == "theirs"


def test_a_library_in_the_place_of_another_one_is_patched_under_the_name_that_is_imported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "replaced_library", sys.modules[__name__])
    patches = PatchSet(ImportHooks(), {"replaced_library": patch_client})
    patches.put_in_force("one")
    assert Client().own() == "ours around theirs"
    patches.withdraw("one")
    assert Client().own() == "theirs"


def test_more_patches_are_added_only_while_the_set_is_in_force(patches: PatchSet) -> None:
    assert not patches.add_patches(lambda: [Patch(Client, "own", patched)])
    assert Client().own() == "theirs"
    patches.put_in_force("one")
    assert patches.add_patches(lambda: [Patch(Client, "own", patched)])
    assert Client().own() == "ours around ours around theirs"
    patches.withdraw("one")
    assert Client().own() == "theirs"


def test_a_loader_of_many_modules_is_left_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "libraries.zip"
    with zipfile.ZipFile(archive, "w") as libraries:
        for name in ("zipped_library", "zipped_other"):
            libraries.writestr(f"{name}.py", "class Client:\n    def own(self):\n        return 'theirs'\n")
    monkeypatch.syspath_prepend(archive)
    patches = PatchSet(ImportHooks(), {"zipped_library": lambda module: [Patch(module.Client, "own", patched)]})
    patches.put_in_force("one")
    try:
        for _ in range(2):  # a program that asks whether it is there, and imports something else
            assert importlib.util.find_spec("zipped_library") is not None
        other = importlib.import_module("zipped_other")
        library = importlib.import_module("zipped_library")
        assert other.Client().own() == "theirs"
        assert library.Client().own() == "ours around theirs"
        assert type(library.__loader__) is type(library.__spec__.loader) is zipimport.zipimporter
        assert inspect.getsource(library.Client).startswith("class Client")
    finally:
        patches.withdraw("one")
        for name in ("zipped_library", "zipped_other"):
            sys.modules.pop(name, None)
    assert library.Client().own() == "theirs"


@pytest.mark.parametrize(
    ("named", "patched"),
    [
        (activation._HTTPX_FAMILY, transports.CORE_LIBRARIES),
        (activation._WEB_SOCKETS, clients._CAUGHT),
        (activation._OTHER_CLIENTS, other_clients.OtherClients.CAUGHT),
        ((*activation._NATIVE, *activation._LOOPS, "socks"), native_clients.NativeClients.PATCHES),
        (activation._COMPILED, compiled_clients.LIBRARIES),
        (activation._KEPT, kept_originals.KEPT),
    ],
    ids=["httpx", "WebSockets", "other clients", "native", "compiled", "kept originals"],
)
def test_each_library_that_a_table_patches_is_named_in_activation(named: Sequence[str], patched: Iterable[str]) -> None:
    # Activation is loaded in every run, and the tables are not. A library that it does not name is never patched.
    assert sorted(named) == sorted(patched), "name the library in intercept/activation.py"
