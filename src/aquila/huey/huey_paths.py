"""Imports the Huey at a path such as ``app.tasks:huey``, which ``--huey`` or the ini key ``aquila_huey`` gives."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

from aquila.errors import ConfigError
from aquila.spelling import suggest_name


def load_huey(path: str, *, named_by: str, where: str) -> Any:
    """Import the module of a path, ``module:attribute``, and return the object at the path.

    ``named_by`` is the text of an error before the path, and ``where`` the advice for a module that is not found.

    Raises ``ConfigError`` if there is nothing at the path, and what the module raises while it is imported.
    """
    __tracebackhide__ = True
    module, _, attribute = path.partition(":")
    if not module or not attribute or module.startswith("."):
        raise ConfigError(
            f'{named_by} {path!r}, which is no path of a Huey: write module:attribute, as in "myapp.tasks:huey"'
        )
    try:
        found: Any = importlib.import_module(module)
    except ModuleNotFoundError as missing:
        if f"{module}.".startswith(f"{missing.name}."):
            raise ConfigError(f"{named_by} {path!r}, and there is no module {missing.name!r}; {where}") from missing
        raise
    for name in attribute.split("."):
        if not hasattr(found, name):
            hueys = _names_of_hueys(sys.modules[module])
            hint = suggest_name(attribute, hueys) if hueys else ""
            raise ConfigError(f"{named_by} {path!r}, and {module} has no {attribute!r}{hint}")
        found = getattr(found, name)
    return found


def _names_of_hueys(module: ModuleType) -> list[str]:
    """Return the names of the Hueys in a module.

    Only the type of each object is asked: reading an attribute may fail, as that of Flask's ``current_app`` does.
    """
    kind = getattr(sys.modules.get("huey"), "Huey", ())
    return [name for name, value in vars(module).items() if issubclass(type(value), kind)]


def is_like_huey(found: Any) -> bool:
    """Whether an object has an attribute that every Huey has and a ``MiniHuey`` lacks. A class is no Huey."""
    return hasattr(found, "storage_class") and not isinstance(found, type)
