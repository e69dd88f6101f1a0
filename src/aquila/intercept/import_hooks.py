"""Doing something to a module when it is imported, without importing it."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


class _Waiting:
    """A finder that finds nothing itself; it adds an errand to the loading of what others find."""

    def __init__(self) -> None:
        self.errands: dict[str, Callable[[ModuleType], object]] = {}
        self._finding: set[str] = set()

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: Any = None) -> ModuleSpec | None:
        if name not in self.errands or name in self._finding:
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

        def exec_module(module: ModuleType) -> None:
            del loader.exec_module
            load(module)
            errand = self.errands.get(name)
            if errand is not None:
                errand(module)

        loader.exec_module = exec_module
        return spec


_waiting = _Waiting()


def call_when_imported(name: str, errand: Callable[[ModuleType], object]) -> None:
    """Call ``errand`` with the module ``name``: now if it is loaded, else as soon as it is."""
    _waiting.errands[name] = errand
    if _waiting not in sys.meta_path:
        sys.meta_path.insert(0, _waiting)
    module = sys.modules.get(name)
    # A module that is being loaded at this moment, by another thread, is one too early to touch.
    if module is not None and not getattr(module.__spec__, "_initializing", False):
        errand(module)


def stop_waiting(name: str) -> None:
    """Take back ``call_when_imported``."""
    _waiting.errands.pop(name, None)
    if not _waiting.errands and _waiting in sys.meta_path:
        sys.meta_path.remove(_waiting)
