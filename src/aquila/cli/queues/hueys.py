"""The Huey that ``--huey`` names."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from aquila.errors import ConfigError


def import_huey(place: str) -> Any:
    """Import what is at ``module:name``. Raises ``ConfigError`` where there is nothing."""
    module, colon, name = place.partition(":")
    if not colon:
        module, _, name = place.rpartition(".")
    if not module or not name:
        raise ConfigError(f"--huey {place!r} names no variable of a module; write it as app.tasks:huey")
    if "" not in sys.path:
        sys.path.insert(0, "")  # As `python -m` does: a command of an environment does not look here.
    try:
        found: Any = importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(f"--huey {place}: {error}") from error
    for part in name.split("."):
        if not hasattr(found, part):
            raise ConfigError(f"--huey {place}: the module {module} has no {name}")
        found = getattr(found, part)
    return found
