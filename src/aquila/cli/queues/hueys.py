"""Imports the Huey that ``--huey`` names."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from aquila.errors import ConfigError


def import_huey(place: str) -> Any:
    """Return the object at ``module:name``, after importing the module. Raises ``ConfigError`` if there is none."""
    module, colon, name = place.partition(":")
    if not colon:
        module, _, name = place.rpartition(".")
    if not module or not name:
        raise ConfigError(f"--huey {place!r} names no variable of a module; write it as app.tasks:huey")
    if "" not in sys.path:
        # As ``python -m`` does, so that modules of the current folder are found. Not undone: the command ends the
        # process.
        sys.path.insert(0, "")
    try:
        found: Any = importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(f"--huey {place}: {error}") from error
    for part in name.split("."):
        if not hasattr(found, part):
            raise ConfigError(f"--huey {place}: the module {module} has no {name}")
        found = getattr(found, part)
    return found
