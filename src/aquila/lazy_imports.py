"""Modules, functions and public names that are imported when they are first used.

The root package does not use this module, because importing the root package must load no other module.
"""

from __future__ import annotations

import _frozen_importlib
import os
import sys
from _thread import allocate_lock, get_ident
from collections.abc import Callable, Mapping

# Aquila puts functions made here into `os`, `threading` and `logging`. Whatever these reach stays alive until the
# interpreter ends, and Python then deletes it name by name, which takes time. `typing` and `importlib` reach pytest and
# most other modules, so this module must not refer to them.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any


_importing: dict[int, None] = {}
"""The threads that are in ``import_module`` now, by their ids. Each adds and removes itself, which is atomic."""
_newest = [__name__]
"""The module that ``import_module`` has imported last. If ``sys.modules`` has lost it, it has lost others, too."""
_LONGEST_WAIT = 5.0
"""How many seconds a fork waits at most for these threads, which may themselves wait for the thread that forks."""
_MOST_ATTEMPTS = 3
"""How often a fork tries a step that a signal interrupts. There is a limit, because the step itself may raise."""
_PAUSE = 0.001
"""The seconds between two checks of a fork that waits."""


def import_module(name: str) -> ModuleType:
    """Import a module and return it. A fork in another thread waits for the import, at most `_LONGEST_WAIT`.

    A fake file system of pyfakefs is paused meanwhile: a module that is imported within it would keep the fake ``os``
    and ``pathlib`` for the rest of the run. A module that ``sys.modules`` has lost is not imported a second time.
    """
    thread = get_ident()
    is_outermost = thread not in _importing
    fake_files = None
    try:
        _importing[thread] = None  # within the `try`: Ctrl-C may come at any call from here on
        is_new = name not in sys.modules
        fake_files = _find_fake_files() if is_new else None
        if fake_files is not None:
            fake_files.pause()
        if is_new and _newest[0] not in sys.modules:
            _put_lost_modules_back()
        # What `importlib.import_module` calls, without loading `importlib`. Not `__import__`, because tests patch it.
        module: ModuleType = _frozen_importlib._gcd_import(name)  # type: ignore[attr-defined]
        if is_new:
            _newest[0] = name
        return module
    finally:
        if is_outermost:
            _importing.pop(thread, None)
        if fake_files is not None:
            fake_files.resume()


def _put_lost_modules_back() -> None:
    """Put modules of Aquila back that were removed from ``sys.modules``, as by pytester after a run in this process.

    Their package still has them. A second copy would have classes of its own, which the first does not know.
    """
    packages = [sys.modules[name] for name in ("aquila", "pytest_aquila") if name in sys.modules]
    while packages:
        package = packages.pop()
        for name, value in list(vars(package).items()):
            if type(value) is type(sys) and value.__name__ == f"{package.__name__}.{name}":
                sys.modules.setdefault(value.__name__, value)
                packages += [value] if hasattr(value, "__path__") else []


def _find_fake_files() -> Any:
    """Return the active patcher of pyfakefs, or None."""
    pyfakefs: Any = sys.modules.get("pyfakefs.fake_filesystem_unittest")
    # Older versions have no such attribute.
    patcher = getattr(getattr(pyfakefs, "Patcher", None), "PATCHER", None)
    return patcher if getattr(patcher, "is_patching", False) else None


def find_loaded(name: str) -> ModuleType | None:
    """Return the module ``name`` if something has imported it, else None.

    The result is None, too, while another thread imports the module: it is in ``sys.modules`` then, but incomplete.
    """
    module = sys.modules.get(name)
    # The import system itself uses this flag.
    return None if getattr(getattr(module, "__spec__", None), "_initializing", False) else module


def find_imports_elsewhere() -> set[tuple[int, str]]:
    """Return what other threads are importing at this moment: the id of each thread, and the name of the module."""
    # A lock for each module that is being imported, by its name. Private to Python, and unchanged since 3.3. A forked
    # child may have locks of threads that exist only in its parent.
    locks = [lock for ref in tuple(getattr(_frozen_importlib, "_module_locks", {}).values()) if (lock := ref())]
    owned = {(lock.owner, lock.name) for lock in locks if getattr(lock, "owner", None) not in (None, get_ident())}
    return {each for each in owned if each[0] in sys._current_frames()} if owned else set()


def wait_before_fork(is_over: Callable[[], object], seconds: float) -> bool:
    """Wait before a fork until ``is_over()`` is true, at most about ``seconds``. Return False after a wait in vain.

    When the handler of a signal raises, this wait ends, and so does every later wait of the same fork: not in vain.
    """
    in_vain: list[bool] = []

    def wait() -> None:
        # Waits by a lock that nothing releases, because a test may have replaced `time.sleep`, or stopped all clocks.
        never = allocate_lock()
        never.acquire()
        for _ in range(round(seconds / _PAUSE)):
            if interrupts or is_over():
                return
            never.acquire(timeout=_PAUSE)
        in_vain.append(not is_over())

    take_step(wait)
    return not any(in_vain)


interrupts: list[BaseException] = []
"""The exceptions of signal handlers while the main thread prepares a fork. The first is printed after the fork."""


def take_step(step: Callable[[], object]) -> None:
    """Run a step of the preparation of a fork. An exception of a signal handler ends this step, and no other one."""
    try:
        step()
    except BaseException as error:  # noqa: BLE001 - a hook of a fork can raise nothing: Python would print and forget it
        interrupts.append(error)


def insist_on(step: Callable[[], object], is_done: Callable[[], object]) -> None:
    """Repeat a step of the preparation of a fork until ``is_done()`` is true, because signals may interrupt it.

    It is tried at most `_MOST_ATTEMPTS` times.
    """
    for _ in range(_MOST_ATTEMPTS):
        if not is_done():
            take_step(step)


def wait_for_imports() -> None:
    """Wait before a fork until no other thread is in ``import_module``.

    Python holds a lock while it imports a module. In a child, the locks of other threads would be held for ever, and
    their modules could never be imported.
    """
    this = get_ident()
    wait_before_fork(lambda: all(thread == this for thread in tuple(_importing)), _LONGEST_WAIT)


def _raise_interrupt() -> None:
    """Raise, in the parent, the first exception of a signal handler. Python prints what a hook of a fork raises."""
    if interrupts:
        error = interrupts[0]
        interrupts.clear()
        raise error


def _go_on_in_child() -> None:
    """Forget, in a child, the threads that exist only in its parent, and the exceptions that the parent raises."""
    interrupts.clear()
    for thread in tuple(_importing):
        if thread != get_ident():
            del _importing[thread]


if hasattr(os, "register_at_fork"):  # Windows has neither this function nor fork.
    os.register_at_fork(before=wait_for_imports, after_in_parent=_raise_interrupt, after_in_child=_go_on_in_child)


class LazyModule:
    """A placeholder for a module. The first use of a public name imports the module, which replaces the placeholder."""

    __slots__ = ("_module", "_namespace")

    def __init__(self, namespace: dict[str, Any], module: str) -> None:
        """``namespace`` is the ``globals()`` that holds this object; ``module`` is the full name of the real module."""
        self._namespace = namespace
        self._module = module

    def __getattr__(self, name: str) -> Any:
        # pytest and `unittest.mock` read `__wrapped__` or `_mock_name` of any object that they find in a namespace.
        # That must not import the module.
        if name.startswith("_"):
            raise AttributeError(f"{self!r} has no attribute {name!r}")
        module = import_module(self._module)
        # A copy of the items, because another thread may import into the same namespace at the same time.
        for known_as, value in list(self._namespace.items()):
            if value is self:
                self._namespace[known_as] = module  # from now on a use of it costs nothing more
        return getattr(module, name)

    def __repr__(self) -> str:
        return f"<module {self._module!r}, imported on first use>"


def lazy_modules(namespace: dict[str, Any], /, *imports: str) -> None:
    """Put placeholders into a namespace for modules that are imported when they are first used.

    ``namespace`` is the ``globals()`` of the importing module. Each of ``imports`` is written like the import for which
    it stands: ``"package: module, other as name"``, or ``"module"``. Type checkers do not see these names, so the
    caller also imports them under ``TYPE_CHECKING``.
    """
    for line in imports:
        package, _, modules = line.rpartition(": ")
        for each in modules.split(", "):
            module, _, name = each.partition(" as ")
            namespace[name or module] = LazyModule(namespace, f"{package}.{module}" if package else module)


def late_function(module: str, name: str, /, *bound: Any) -> Callable[..., Any]:
    """Return a function that imports ``module`` when it is first called, and calls its function ``name``.

    ``bound`` are arguments that come before those of the call. Use it for hooks that are stored in modules such as
    ``os``, which live until the interpreter ends: until it is called it keeps no other module alive.
    """
    # Set by the first call and never cleared. Two threads that call first at the same time find the same function.
    found: Callable[..., Any] | None = None

    def call(*args: Any, **named: Any) -> Any:
        __tracebackhide__ = True  # pytest shows no such frame
        nonlocal found
        if found is None:
            found = getattr(import_module(module), name)
        return found(*bound, *args, **named)

    return call


def lazy_names(
    package: str, modules: Mapping[str, str], *, extra: str = ""
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the functions ``__getattr__`` and ``__dir__`` for a package (PEP 562).

    ``package`` is its ``__name__``. ``modules`` says for each public name the full name of the module that defines it.
    ``extra`` is the extra of the distribution that these modules need, if any: where it is not installed, a name raises
    ``MissingDependency``.
    """
    namespace = vars(sys.modules[package])

    def import_name(name: str) -> Any:
        module = modules.get(name)
        if module is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        try:
            value = namespace[name] = getattr(import_module(module), name)
        except ModuleNotFoundError as missing:
            if extra and missing.name:
                from aquila.optional import import_optional  # noqa: PLC0415 - it imports this module

                import_optional(missing.name, extra, purpose=f"{package}.{name}")
            raise
        return value

    def list_names() -> list[str]:
        return sorted({*namespace, *modules})

    return import_name, list_names
