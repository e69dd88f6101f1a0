"""Imports the Huey that ``--huey`` names."""

from __future__ import annotations

import sys
import traceback
from typing import TYPE_CHECKING, Any

from aquila.errors import AquilaError, ConfigError
from aquila.lazy_imports import lazy_modules

if TYPE_CHECKING:
    from aquila.huey import huey_paths, instrumenting
else:
    lazy_modules(globals(), "aquila.huey: huey_paths, instrumenting")


def import_huey(place: str) -> Any:
    """Return the Huey at ``module:name``, or ``module.name``, after importing the module.

    Raises ``ConfigError`` if there is none, if its module cannot be imported, or if it is in immediate mode.
    """
    module, dot, name = place.rpartition(".")
    path = f"{module}:{name}" if dot and ":" not in place else place
    if "" not in sys.path:
        # As ``python -m`` does, so that modules of the current folder are found. The command owns the process, so this
        # is not undone.
        sys.path.insert(0, "")
    where = "start the command in the folder that has it, or add that folder to PYTHONPATH"
    try:
        found = huey_paths.load_huey(path, named_by="--huey is", where=where)
    except AquilaError:
        raise
    except (Exception, SystemExit) as error:  # whatever the user's module raises
        raised_in = traceback.extract_tb(error.__traceback__)[-1]
        line = f" ({raised_in.filename}, line {raised_in.lineno})"
        reason = f"{type(error).__name__}: {error}{'' if isinstance(error, SyntaxError) else line}"  # it names its line
        raise ConfigError(f"--huey is {path!r}, whose module cannot be imported: {reason}") from error
    instrumenting.reject_other_than_huey(found)
    if found.immediate:
        raise ConfigError(
            f"--huey {place}: this Huey is in immediate mode here, so its storage is not that of production. "
            "Start the command with the settings of the workers"
        )
    return found
