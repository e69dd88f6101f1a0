"""Names of a package that are imported when they are first used.

Not for the root package, whose import loads no other module.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


def lazy_names(package: str, modules: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the ``__getattr__`` and ``__dir__`` of a package (PEP 562).

    ``package`` is its ``__name__``. ``modules`` says for each public name the full name of the module that defines it.
    """
    namespace = vars(sys.modules[package])

    def import_name(name: str) -> Any:
        module = modules.get(name)
        if module is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = namespace[name] = getattr(importlib.import_module(module), name)
        return value

    def list_names() -> list[str]:
        return sorted({*namespace, *modules})

    return import_name, list_names
