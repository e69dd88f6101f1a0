"""Calls functions with a module when it is imported, without importing it."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Mapping, Sequence

from aquila.lazy_imports import lazy_modules

# What stands in `sys.meta_path` when Python ends, and all that it can reach, lives longest; see `aquila.lazy_imports`.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib import util
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any, TypeAlias

    ModuleCallback: TypeAlias = Callable[[ModuleType], object]
else:
    lazy_modules(globals(), util="importlib.util")


class ImportHooks:
    """Waits for modules. As long as it waits for any, a finder of its own is the first in ``sys.meta_path``.

    The caller must keep a reference to this object: the finder has only a weak one.
    """

    def __init__(self) -> None:
        self._finder = _Finder(self)
        # By import name. An entry goes with `stop_waiting`; with the last one the finder leaves `sys.meta_path`.
        self._callbacks: dict[str, ModuleCallback] = {}
        # The modules for which `find_spec` is asking the other finders. That asks our own finder again, which must then
        # find nothing, or it would never end.
        self._finding: set[str] = set()

    def call_when_imported(self, name: str, callback: ModuleCallback) -> None:
        """Call ``callback`` with the module ``name``: now if it is loaded, else as soon as it is."""
        self._callbacks[name] = callback
        if self._finder not in sys.meta_path:
            sys.meta_path.insert(0, self._finder)
        module = sys.modules.get(name)
        # Another thread may be loading the module at this moment. Then it has no attributes yet: `find_spec` has added
        # the callback if the hook was there in time. The flag is the one that the import system itself goes by.
        if module is not None and not getattr(module.__spec__, "_initializing", False):
            callback(module)

    def stop_waiting(self, name: str) -> None:
        """Undo ``call_when_imported``."""
        self._callbacks.pop(name, None)
        if not self._callbacks and self._finder in sys.meta_path:
            sys.meta_path.remove(self._finder)

    def find_spec(self, name: str) -> ModuleSpec | None:
        """Find what the other finders find, and have the callback called once that is loaded."""
        if name not in self._callbacks or name in self._finding:
            return None
        self._finding.add(name)
        try:
            spec = util.find_spec(name)
        finally:
            self._finding.discard(name)
        if spec is None or spec.loader is None:
            return None
        loader: Any = _CallingLoader(spec.loader, self._callbacks)
        spec.loader = loader
        return spec


class _Finder:
    """A finder that finds nothing itself: it adds a callback to the loading of what other finders find.

    ``sys.meta_path``, of which a process has one, may outlive all that the hooks are about.
    """

    def __init__(self, hooks: ImportHooks) -> None:
        self._hooks = weakref.ref(hooks)

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: Any = None) -> ModuleSpec | None:
        hooks = self._hooks()
        return hooks.find_spec(name) if hooks is not None else None


class _CallingLoader:
    """Loads a module with the loader that was found, and calls the callback.

    It changes nothing of that loader, which may be that of many modules: a zip file has one for all of its own. The
    module keeps the one that was found.
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
        callback = self._callbacks.get(module.__name__)
        if callback is not None:
            callback(module)

    def __getattr__(self, name: str) -> Any:
        if name == "_loader":  # a copy that is not made yet
            raise AttributeError(name)
        return getattr(self._loader, name)
