"""A loader that calls back after it has loaded a library; see ``patching``, which imports this module when needed."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec

    from aquila.intercept.patching import ModuleCallback


class CallingLoader:
    """Loads a module with ``loader``, the one that was found, and then calls the callback of the module.

    ``loader`` is not changed, because it may load other modules too, as that of a zip file does. The module keeps
    ``loader`` as its own.
    """

    def __init__(self, loader: Any, callbacks: Mapping[str, ModuleCallback]) -> None:
        self._loader = loader
        self._callbacks = callbacks

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        made: ModuleType | None = self._loader.create_module(spec)
        return made

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        name = module.__name__
        callback = self._callbacks.get(name)
        if callback is not None:
            callback(name, module)

    def __getattr__(self, name: str) -> Any:
        if name == "_loader":  # `copy` asks an object that has no attributes yet
            raise AttributeError(name)
        return getattr(self._loader, name)
