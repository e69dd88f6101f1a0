"""Tries each program of a folder against its listener, as a test of the run within which this is collected.

``WAYS_OUT`` says in JSON where the programs are, the port of the listener of each, and where to note what came of them.
As a plugin it tries those that are plugins, when it is imported.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

GIVEN = json.loads(os.environ["WAYS_OUT"])
HOST = "127.0.0.1"


def load(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"way_out_{name}", Path(GIVEN["folder"], f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def attempt(name: str, module: Any) -> None:
    try:
        came = module.go(HOST, GIVEN["ports"][name]) or ""
    except BaseException as error:  # noqa: BLE001 - an outcome is no Exception
        came = f"{type(error).__name__}: {error}"
    Path(GIVEN["notes"], name).write_text(came, encoding="utf-8")


if "pytest_aquila.plugin" not in sys.modules:  # named with -p: no conftest, and no run, is there yet
    for each in GIVEN["plugins"]:
        attempt(each, load(each))


@pytest.mark.parametrize("name", GIVEN["programs"])
def test_program(name: str) -> None:
    attempt(name, load(name))
