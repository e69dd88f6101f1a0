"""Patches: replaced attributes of other libraries, which are restored exactly when nothing needs the patch.

``PatchSet`` holds the patches of one boundary: the clients of httpx, the sockets, ... It imports no library.
``ImportHooks`` calls it when a library is imported.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence

from aquila.fork_locks import renewed_in_child
from aquila.lazy_imports import find_imports_elsewhere, find_loaded, lazy_modules, wait_before_fork

# Finders in `sys.meta_path`, and all that they can reach, live longest when Python ends, so this module must not refer
# to `typing`; see `aquila.lazy_imports`.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib import util
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any, Protocol, TypeAlias

    from aquila.intercept import calling_loader, unknown_modules

    ModuleCallback: TypeAlias = Callable[[str, ModuleType], object]

    class Undoable(Protocol):
        """A change that can be taken back."""

        def undo(self) -> None:
            """Take the change back."""
else:
    lazy_modules(globals(), "importlib: util", "aquila.intercept: calling_loader, unknown_modules")
    Undoable = object  # making the class of a protocol takes long, and every run loads this module

_LONGEST_IMPORT = 15.0
"""For how many seconds a fork waits for the imports of other threads. On a busy machine a client takes several."""

_ABSENT = object()
"""Stands for an attribute that an owner inherits, and does not have in its own ``__dict__``."""


class Patch:
    """One replaced attribute of a class or a module.

    ``owner`` is the class or module, ``name`` the attribute. ``make`` gets the present value and returns the
    replacement.
    """

    def __init__(self, owner: Any, name: str, make: Callable[[Any], Any]) -> None:
        self._owner = owner
        self._name = name
        self._before = getattr(owner, name)
        self._replacement = make(self._before)
        self.apply()

    @property
    def change(self) -> tuple[Any, str, Any, Any]:
        """The owner, the name, the value before and the replacement."""
        return self._owner, self._name, self._before, self._replacement

    def fits(self, module: ModuleType) -> bool:
        """Whether the owner, which may be a class of ``module``, is in its place with the value ``make`` was given."""
        owner, name = self._owner, getattr(self._owner, "__name__", "")
        there = getattr(module, name, None) if isinstance(owner, type) else sys.modules.get(name)
        return there is owner and getattr(owner, self._name, None) is self._before

    def apply(self) -> None:
        """Put the replacement in place."""
        # The owner's own value. An attribute that the owner inherits is deleted afterwards, not written into the owner.
        self._original = self._owner.__dict__.get(self._name, _ABSENT)
        setattr(self._owner, self._name, self._replacement)

    def undo(self) -> None:
        """Restore the original value.

        If another tool has put its own patch on top, nothing changes. That patch calls our replacement, which lets
        everything through once its patch set is not in force.
        """
        if self._owner.__dict__.get(self._name) is not self._replacement:
            return
        if self._original is _ABSENT:
            delattr(self._owner, self._name)
        else:
            setattr(self._owner, self._name, self._original)


class PatchSet:
    """The patches of one boundary, in force while at least one holder needs them.

    ``libraries`` maps the import name of each library to the function that patches its module. A library that is not
    loaded yet is patched when it is imported.
    """

    def __init__(self, hooks: ImportHooks, libraries: Mapping[str, Callable[[ModuleType], Iterable[Undoable]]]) -> None:
        self._hooks = hooks
        self._libraries = libraries
        # The holders need the patches. Without holders there are no patches. The patches are in the order in which they
        # were made, and are undone in reverse, because a later one may have replaced an earlier one.
        self._holders: set[object] = set()
        self._patches: list[Undoable] = []
        self._changes: list[tuple[Any, str, Any, Any]] = []  # of the patches, for `renew`, which every test calls
        # Each library that was patched, by its name: its module and the patches. Outside a run of tests each block
        # patches every client, and to make the replacements takes longer than to replay a request. `_kept` has those of
        # the block before that are not in place again. A library that is loaded once more in a block gets new ones.
        self._made: dict[str, tuple[ModuleType, list[Patch]]] = {}
        self._kept: dict[str, tuple[ModuleType, list[Patch]]] = {}
        # Set by `put_in_force` and `withdraw`, read without the lock: the socket guard asks it at every connection.
        self.in_force = False
        """Whether the set has holders. A replacement that another tool still holds checks this."""
        # Re-entrant: `put_in_force` patches modules that are already loaded, through `add_patches`.
        self._lock = renewed_in_child(threading.RLock())

    @property
    def has_patches(self) -> bool:
        """Whether anything is patched now."""
        return bool(self._patches)

    def put_in_force(self, holder: object) -> None:
        """Patch until ``withdraw`` is called with the same ``holder``."""
        with self._lock:
            first = not self._holders
            self._holders.add(holder)
            self.in_force = True
            if first:
                # All or none: what a patch replaces may be the replacement of another one.
                self._kept, self._made = self._made, {}
                if self._kept and not all(patch.fits(module) for module, kept in self._kept.values() for patch in kept):
                    self._kept.clear()
                try:
                    self._hooks.call_when_imported(self._libraries, self._patch_library)
                except BaseException:
                    self.withdraw(holder)  # else the next holder would not be the first, and nothing would be patched
                    raise

    def withdraw(self, holder: object) -> None:
        """Undo ``put_in_force``. The last holder restores every patched attribute."""
        with self._lock:
            if holder not in self._holders:
                return
            self._holders.discard(holder)
            self.in_force = bool(self._holders)
            if not self._holders:
                self._hooks.stop_waiting(self._libraries)
                self._changes.clear()
                while self._patches:
                    self._patches.pop().undo()

    def renew(self) -> None:
        """Apply again the patches that another tool has undone. A patch that a tool has put on top stays."""
        with self._lock:
            for owner, name, before, replacement in self._changes:
                if getattr(owner, name, None) is before and before is not replacement:
                    setattr(owner, name, replacement)

    def add_patches(self, make: Callable[[], Iterable[Undoable]]) -> bool:
        """Add the patches that ``make`` applies, unless the set is no longer in force. Return whether it is."""
        with self._lock:
            if self._holders:
                made: list[Undoable] = []
                try:
                    made.extend(make())
                except BaseException:
                    while made:
                        made.pop().undo()
                    raise
                self._patches += made
                self._changes += [patch.change for patch in made if isinstance(patch, Patch)]
            return bool(self._holders)

    def _patch_library(self, name: str, module: ModuleType) -> None:
        try:
            self.add_patches(lambda: self._make_patches(name, module))
        except (AttributeError, ImportError) as error:  # the program's own import must succeed nevertheless
            unknown_modules.note_unknown_module(name, module, error)

    def _make_patches(self, name: str, module: ModuleType) -> Iterable[Undoable]:
        known, kept = self._kept.pop(name, (None, []))
        if known is module:
            self._made[name] = module, kept
            for patch in kept:
                patch.apply()
                yield patch
            return
        made: list[Any] = []
        for each in self._libraries[name](module):
            made.append(each)
            yield each
        if made and all(isinstance(each, Patch) for each in made):
            self._made[name] = module, made


class ImportHooks:
    """Waits for modules. As long as it waits for any, a finder of its own is the first in ``sys.meta_path``.

    The caller must keep a reference to this object: the finder has only a weak one.
    """

    def __init__(self) -> None:
        self._finder = _Finder(self)
        # By import name. `stop_waiting` removes entries; with the last one the finder leaves `sys.meta_path`.
        self._callbacks: dict[str, ModuleCallback] = {}
        # The modules for which `find_spec` is asking all finders. These include our own, which must then find nothing,
        # or the search would never end.
        self._finding: set[str] = set()

    def call_when_imported(self, names: Iterable[str], callback: ModuleCallback) -> None:
        """Call ``callback`` with each name and its module: now if the module is loaded, else once it is."""
        self._callbacks.update(dict.fromkeys(names, callback))
        if self._callbacks and self._finder not in sys.meta_path:
            sys.meta_path.insert(0, self._finder)
        # Listed before the first call: the callback may import another of the modules, whose loader calls then.
        for name in [name for name in names if name in sys.modules]:
            module = find_loaded(name)
            # None while another thread is loading it: then the loader calls, unless the thread found the module before
            # our finder was there. Such a module stays as it is until the names are waited for anew: to wait here for
            # the thread could last for ever, because it may itself wait for a lock that the caller holds.
            if module is not None:
                callback(name, module)

    def stop_waiting(self, names: Iterable[str]) -> None:
        """Undo ``call_when_imported``."""
        for name in names:
            self._callbacks.pop(name, None)
        if not self._callbacks and self._finder in sys.meta_path:
            sys.meta_path.remove(self._finder)

    def find_spec(self, name: str) -> ModuleSpec | None:
        """Return the spec that the other finders find, with a loader that calls the callback after loading."""
        if name not in self._callbacks or name in self._finding:
            return None
        self._finding.add(name)
        try:
            spec = util.find_spec(name)
        finally:
            self._finding.discard(name)
        if spec is None or spec.loader is None:
            return None
        loader: Any = calling_loader.CallingLoader(spec.loader, self._callbacks)
        spec.loader = loader
        return spec


class _Finder:
    """A finder that adds a callback to the modules that other finders find.

    It refers to the hooks weakly, because ``sys.meta_path`` may outlive them.
    """

    def __init__(self, hooks: ImportHooks) -> None:
        self._hooks = weakref.ref(hooks)

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: Any = None) -> ModuleSpec | None:
        hooks = self._hooks()
        return hooks.find_spec(name) if hooks is not None else None


_endless: set[tuple[int, str]] = set()
"""Imports for which a fork has waited in vain. They may never end, as the import of a module whose body is the program.
"""


def _wait_for_imports() -> None:
    """Before a fork: wait until no other thread imports anything, if hooks wait for libraries.

    A child that is forked while another thread imports a module inherits the lock of that import, but not the thread.
    It would wait for ever when it imports the same module.
    """
    is_hooked = any(isinstance(finder, _Finder) for finder in tuple(sys.meta_path))
    if is_hooked and not wait_before_fork(lambda: find_imports_elsewhere() <= _endless, _LONGEST_IMPORT):
        _endless.update(find_imports_elsewhere())


if hasattr(os, "register_at_fork"):  # Windows has neither this function nor fork.
    os.register_at_fork(before=_wait_for_imports)
