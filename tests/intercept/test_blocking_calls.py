"""blockbuster lets Aquila's own calls pass, and refuses those of the program. `tests/wild` runs the real one."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from aquila import lazy_imports
from aquila.config import SettingsLayers, find_cassette_root
from aquila.intercept.blocking_calls import patch_detector
from aquila.recording.runtime import Run


class Blocking(Exception):
    pass


def _wrap_blocking(func: Callable[..., Any], name: str, can_block_predicate: Callable[..., bool]) -> Callable[..., Any]:
    def wrapper(*args: Any, **named: Any) -> Any:
        if can_block_predicate(*args, **named):
            return func(*args, **named)
        raise Blocking(name)

    return wrapper


@pytest.fixture
def wrap() -> Iterator[Callable[..., Any]]:
    """What wraps functions in blockbuster, while Aquila patches it."""
    detector = ModuleType("blockbuster.blockbuster")
    vars(detector)["_wrap_blocking"] = _wrap_blocking
    patches = list(patch_detector(detector))
    yield detector._wrap_blocking
    for patch in patches:
        patch.undo()
    assert detector._wrap_blocking is _wrap_blocking


def refuse(*args: object) -> bool:
    return False


def test_what_aquila_does_itself_may_block(wrap: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getcwd", wrap(os.getcwd, "os.getcwd", refuse))
    assert find_cassette_root(Path("here"), "cassettes").is_absolute()


def test_what_the_program_does_is_refused_also_where_aquila_calls_it(
    wrap: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getcwd", wrap(os.getcwd, "os.getcwd", can_block_predicate=refuse))
    with pytest.raises(Blocking):
        os.getcwd()
    with pytest.raises(Blocking):
        Path.cwd()  # through the standard library

    class OfTheProgram:
        def __init__(self) -> None:
            os.getcwd()

    with pytest.raises(Blocking):
        Run(SettingsLayers(Path())).state_of(OfTheProgram)


def test_what_a_library_does_while_it_is_imported_is_done_by_its_importer(
    wrap: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("imported_by_aquila", "imported_by_the_program"):
        (tmp_path / f"{name}.py").write_text("import os\ndef look(): return os.getcwd()\nplace = look()\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(os, "getcwd", wrap(os.getcwd, "os.getcwd", refuse))
    assert lazy_imports.import_module("imported_by_aquila").place
    with pytest.raises(Blocking):
        importlib.import_module("imported_by_the_program")


def test_what_blockbuster_allows_stays_allowed(wrap: Callable[..., Any]) -> None:
    assert wrap(lambda text: text, "echo", lambda text: text == "yes")("yes") == "yes"


def test_a_version_that_does_it_in_another_way_is_left_alone() -> None:
    assert not list(patch_detector(ModuleType("blockbuster.blockbuster")))
