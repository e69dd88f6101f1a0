"""Modules, functions and public names that are imported when they are first used.

Not for the root package, whose import loads no other module.
"""

from __future__ import annotations

import _frozen_importlib
import sys
from collections.abc import Callable, Mapping

# What stands in `os`, `threading` or `logging` lives until the interpreter has ended, with all that it can reach, and
# Python takes that apart name by name. `typing` and `importlib` reach pytest and most of what is loaded, so nothing
# here holds on to them.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any


def _import_module(name: str) -> ModuleType:
    # As `importlib.import_module` does, which is not loaded here. Not `__import__`: tests put others in its place.
    module: ModuleType = _frozen_importlib._gcd_import(name)  # type: ignore[attr-defined]
    return module


class LazyModule:
    """Stands for a module until a public name of it is used. Then the module takes its place."""

    __slots__ = ("_module", "_namespace")

    def __init__(self, namespace: dict[str, Any], module: str) -> None:
        """``namespace`` is the one that this object stands in, and ``module`` the full name of what it stands for."""
        self._namespace = namespace
        self._module = module

    def __getattr__(self, name: str) -> Any:
        # pytest and others ask whatever stands in a namespace for `__wrapped__` or `_mock_name`: that is no use.
        if name.startswith("_"):
            raise AttributeError(f"{self!r} has no attribute {name!r}")
        module = _import_module(self._module)
        for known_as, value in list(self._namespace.items()):
            if value is self:
                self._namespace[known_as] = module  # from now on a use of it costs nothing more
        return getattr(module, name)

    def __repr__(self) -> str:
        return f"<module {self._module!r}, imported on first use>"


def lazy_modules(namespace: dict[str, Any], /, **modules: str) -> None:
    """Put modules into a namespace that are imported when they are first used.

    ``namespace`` is the ``globals()`` of the importing module. ``modules`` says for each name there the full name of
    the module. Type checkers do not see it, so the same names are imported under ``TYPE_CHECKING``.
    """
    for name, module in modules.items():
        namespace[name] = LazyModule(namespace, module)


def late_function(module: str, name: str, /, *bound: Any) -> Callable[..., Any]:
    """Return a function that calls one of a module that is imported then.

    ``bound`` are arguments that come before those of a call. For what is put into a module that outlives all others:
    until it is called it reaches no module but this one.
    """
    found: Callable[..., Any] | None = None

    def call(*args: Any, **named: Any) -> Any:
        nonlocal found
        if found is None:
            found = getattr(_import_module(module), name)
        return found(*bound, *args, **named)

    return call


def lazy_names(package: str, modules: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the ``__getattr__`` and ``__dir__`` of a package (PEP 562).

    ``package`` is its ``__name__``. ``modules`` says for each public name the full name of the module that defines it.
    """
    namespace = vars(sys.modules[package])

    def import_name(name: str) -> Any:
        module = modules.get(name)
        if module is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = namespace[name] = getattr(_import_module(module), name)
        return value

    def list_names() -> list[str]:
        return sorted({*namespace, *modules})

    return import_name, list_names
