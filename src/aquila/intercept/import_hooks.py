"""Calls functions with a module when it is imported, without importing it."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

ModuleCallback = Callable[[ModuleType], object]


class ImportHooks:
    """A finder that finds nothing itself: it adds a callback to the loading of what other finders find.

    It stands in ``sys.meta_path``, of which a process has one, while it waits for some module.
    """

    def __init__(self) -> None:
        # By import name. An entry goes with `stop_waiting`; with the last one the finder leaves `sys.meta_path`.
        self._callbacks: dict[str, ModuleCallback] = {}
        # The modules that `find_spec` is asking the other finders about: it is asked again meanwhile.
        self._finding: set[str] = set()

    def call_when_imported(self, name: str, callback: ModuleCallback) -> None:
        """Call ``callback`` with the module ``name``: now if it is loaded, else as soon as it is."""
        self._callbacks[name] = callback
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)
        module = sys.modules.get(name)
        # Another thread may be loading the module at this moment. Then it has no attributes yet: `find_spec` has added
        # the callback if the hook was there in time. The flag is the one that the import system itself goes by.
        if module is not None and not getattr(module.__spec__, "_initializing", False):
            callback(module)

    def stop_waiting(self, name: str) -> None:
        """Undo ``call_when_imported``."""
        self._callbacks.pop(name, None)
        if not self._callbacks and self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: Any = None) -> ModuleSpec | None:
        """Find what the other finders find, and have the callback called once that is loaded."""
        if name not in self._callbacks or name in self._finding:
            return None
        self._finding.add(name)
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self._finding.discard(name)
        loader: Any = spec.loader if spec is not None else None
        if loader is None:
            return None
        load = loader.exec_module

        def load_and_call(module: ModuleType) -> None:
            del loader.exec_module  # the loader's class has the real one
            load(module)
            callback = self._callbacks.get(name)
            if callback is not None:
                callback(module)

        loader.exec_module = load_and_call
        return spec
