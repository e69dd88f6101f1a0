"""Imports the Huey that ``--huey`` names."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

from aquila.errors import ConfigError
from aquila.lazy_imports import lazy_modules
from aquila.optional import import_optional
from aquila.spelling import suggest_name

if TYPE_CHECKING:
    from aquila.huey import instrumenting
else:
    lazy_modules(globals(), instrumenting="aquila.huey.instrumenting")


def import_huey(place: str) -> Any:
    """Return the Huey at ``module:name``, after importing the module.

    Raises ``ConfigError`` if there is none, or if it is in immediate mode.
    """
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
        # Another module may be missing, one that this one imports.
        is_itself = isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}.")
        help = f"; start the command in the folder above {error.name}, or add that to PYTHONPATH" if is_itself else ""
        raise ConfigError(f"--huey {place}: {error}{help}") from error
    for part in name.split("."):
        if not hasattr(found, part):
            huey = import_optional("huey", "huey", purpose="--huey")
            hueys = [each for each, value in vars(sys.modules[module]).items() if isinstance(value, huey.Huey)]
            known = suggest_name(name, hueys) if hueys else ""
            raise ConfigError(f"--huey {place}: the module {module} has no {name}{known}")
        found = getattr(found, part)
    instrumenting.reject_other_than_huey(found)
    if found.immediate:
        raise ConfigError(
            f"--huey {place}: this Huey is in immediate mode here, and so has another storage than in production: "
            "start the command with the settings of the workers"
        )
    return found
