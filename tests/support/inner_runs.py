"""Makes inner runs quick: the pytest runs that tests start in their own process. The suite has hundreds of them.

In a short run, pytest spends most of the time on its plugins. It looks at every name of forty modules twice, and reads
the metadata of their packages. The results are the same in each run, so they are kept for the life of the process. A
library that an inner run loads stays loaded for the next inner run.
"""

from __future__ import annotations

import ast
import faulthandler
import functools
import importlib.metadata
import inspect
import os
import re
import sys
import sysconfig
import types
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import _pytest._code.code
import _pytest.config
import _pytest.config.argparsing
import _pytest.fixtures
import _pytest.pytester
import pluggy
import pluggy._manager
import pytest

import aquila
import pytest_aquila
import tests

WITHOUT_IDLE_PLUGINS = (
    "-p no:hypothesispytest -p no:anyio -p no:time_machine -p no:xdist.looponfail "
    "-p no:legacypath -p no:pastebin -p no:stepwise"
)
"""Options of the runs that tests start: the plugins that take longest to load and do nothing there."""

_LASTING = ("_pytest", "xdist", "pytest_aquila")
"""Packages whose modules and classes stay the same in all runs, unlike a test's own plugins and conftest files."""

_INSTALLED = (
    *(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")),
    *(str(Path(package).parent) for package in (aquila.__file__, pytest_aquila.__file__, tests.__file__)),
)
"""The folders of the installed libraries, and of this repository's packages."""

_NEVER_IN_USE = re.findall(r"no:(\S+)", WITHOUT_IDLE_PLUGINS)
_IN_USE_WITH = {"junitxml": "junit", "setuponly": "--setup", "setupplan": "--setup"}
"""Plugins of pytest that do nothing unless the options of a run have this text."""

_ALL_DEFAULT_PLUGINS = _pytest.config.default_plugins

_CAN_PATCH = (
    hasattr(_pytest.fixtures, "FixtureFunctionDefinition")
    and hasattr(_pytest.config.argparsing.OptionGroup, "_addoption_inner")
    and hasattr(pluggy._manager, "_static_hook_attr")
)
"""Whether pytest and pluggy look for names as patched below. Older versions, in tests/wild, do it in other ways."""


# The first line of a run names it. If it is not set, pluggy reads it from the file of its distribution each time.
pluggy.__version__ = importlib.metadata.version("pluggy")


class ModulesOfTests(_pytest.pytester.SysModulesSnapshot):
    """Makes pytester keep the installed modules that a run has loaded, and forget the others.

    A library that is loaded twice would have two registries, and two classes of one name.
    """

    def __init__(self, preserve: object = None) -> None:
        self._before = dict(sys.modules)

    def restore(self) -> None:
        since = {name: sys.modules[name] for name in sorted(sys.modules.keys() - self._before.keys())}
        sys.modules.clear()
        sys.modules.update(self._before)
        sys.modules.update((name, module) for name, module in since.items() if _is_installed(module))


def _is_installed(module: types.ModuleType) -> bool:
    return (getattr(module, "__file__", None) or "").startswith(_INSTALLED)


@contextmanager
def quick_inner_runs(options: Iterable[object]) -> Iterator[None]:
    """Let pytest runs in this block reuse what earlier runs have found out about the installed plugins."""
    is_alone = os.environ.get("PYTEST_ADDOPTS") == WITHOUT_IDLE_PLUGINS and not _has_workers(options)
    known = _distributions_with_plugins(without_idle=is_alone)
    with pytest.MonkeyPatch.context() as patch:
        if is_alone:
            patch.delenv("PYTEST_ADDOPTS")  # each of its options is parsed many times
        patch.setattr(_pytest.config, "default_plugins", _default_plugins(options))
        patch.setattr(_pytest.pytester, "HookRecorder", _Interrupts)
        patch.setattr(importlib.metadata, "distributions", lambda: iter(known))
        patch.setattr(_pytest._code.code, "getstatementrange_ast", _find_statement)
        patch.setattr(inspect, "getmodule", _module_of)
        # At each failure pytest ends what watches for a test that hangs: here, that of the outer run.
        patch.setattr(faulthandler, "cancel_dump_traceback_later", lambda: None)
        if not _CAN_PATCH:
            yield
            return
        # Both modules call `dir` to find the names that they look at.
        patch.setattr(pluggy._manager, "dir", _may_be_hooks, raising=False)
        patch.setattr(_pytest.fixtures, "dir", _fixtures, raising=False)
        patch.setattr(pluggy._manager, "_static_hook_attr", _hook)
        patch.setattr(pluggy.PluginManager, "_verify_hook", _verify_hook)
        patch.setattr(_pytest.config.argparsing.OptionGroup, "addoption", _add_option)
        if _find_names is not None:
            patch.setattr(pluggy._impl, "varnames", _names)
        yield


def _default_plugins(options: Iterable[object]) -> tuple[str, ...]:
    """Return those of pytest's own plugins that a run with ``options`` needs: each takes time to load."""
    words = " ".join(map(str, options))
    idle = {*_NEVER_IN_USE, *(name for name, option in _IN_USE_WITH.items() if option not in words)}
    return tuple(name for name in _ALL_DEFAULT_PLUGINS if name not in idle)


def _has_workers(options: Iterable[object]) -> bool:
    """Whether a run starts processes, which read the options of the environment too."""
    return any(str(option).startswith(("-n", "--num", "--tx", "--dist")) for option in options)


class _Interrupts:
    """What pytester needs of a record of all hook calls, which takes long to write and keeps all objects of a run."""

    def __init__(self, pluginmanager: pytest.PytestPluginManager, _ispytest: bool = False) -> None:
        self._calls: list[types.SimpleNamespace] = []
        pluginmanager.register(self)

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        self._calls.append(types.SimpleNamespace(excinfo=excinfo))

    def getcalls(self, name: str) -> list[types.SimpleNamespace]:
        return self._calls

    def finish_recording(self) -> None:
        self._calls.clear()


def _kept_while_holder_lasts(ask: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Keep the answer of ``ask`` for each module or class of a package in ``_LASTING``."""
    kept: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()

    def answer(plugin: Any) -> Any:
        holder = plugin if isinstance(plugin, types.ModuleType | type) else type(plugin)
        within = holder.__name__ if isinstance(holder, types.ModuleType) else holder.__module__
        names_its_own = holder is not plugin and "__dir__" in vars(holder)
        if not _lasts(within) or names_its_own:
            return dir(plugin)
        if holder not in kept:
            kept[holder] = ask(holder)
        return kept[holder]

    return answer


@_kept_while_holder_lasts
def _may_be_hooks(holder: Any) -> Iterable[str]:
    return [name for name in dir(holder) if name.startswith("pytest_")]


@_kept_while_holder_lasts
def _fixtures(holder: Any) -> Iterable[str]:
    fixture = _pytest.fixtures.FixtureFunctionDefinition
    return [name for name in dir(holder) if isinstance(getattr(holder, name, None), fixture)]


_find_hook: Any = getattr(pluggy._manager, "_static_hook_attr", getattr)
_find_hook_once = functools.lru_cache(maxsize=2000)(_find_hook)


def _hook(plugin: Any, name: str) -> Any:
    if isinstance(plugin, types.ModuleType):
        return (_find_hook_once if _lasts(plugin.__name__) else _find_hook)(plugin, name)
    if isinstance(plugin, type) or not _lasts(type(plugin).__module__) or name in getattr(plugin, "__dict__", ()):
        return _find_hook(plugin, name)
    holder, function = _find_hook_once(type(plugin), name) or (None, None)
    if holder is function and isinstance(function, types.FunctionType):
        return function, types.MethodType(function, plugin)
    return _find_hook(plugin, name)


_verify: Any = pluggy.PluginManager._verify_hook


def _verify_hook(manager: pluggy.PluginManager, hook: Any, implementation: Any) -> None:
    """Look at the parameters of a hook, but not of one that the outer run has registered without a complaint."""
    if not _lasts(getattr(implementation.function, "__module__", None) or ""):
        _verify(manager, hook, implementation)


def _add_option(group: Any, *names: str, **settings: Any) -> None:
    """Add an option of a plugin without comparing it with each one before. argparse finds those of the same name."""
    group._addoption_inner(names, settings, allow_reserved=False)


def _lasts(module: str) -> bool:
    return module.partition(".")[0] in _LASTING


_find_names: Any = getattr(getattr(pluggy, "_impl", None), "varnames", None)


def _names(function: Any) -> Any:
    """Find the names of the parameters of a hook."""
    if isinstance(function, types.MethodType) and isinstance(function.__func__, types.FunctionType):
        inner, is_bound = function.__func__, True
    elif isinstance(function, types.FunctionType):
        inner, is_bound = function, False
    else:
        return _find_names(function)
    return _find_names_once(inner, is_bound) if _lasts(inner.__module__) else _find_names(function)


@functools.lru_cache(maxsize=2000)
def _find_names_once(function: types.FunctionType, is_bound: bool) -> Any:
    return _find_names(types.MethodType(function, _LASTING) if is_bound else function)  # bound to anything


_find_statement_in: Any = _pytest._code.code.getstatementrange_ast


def _find_statement(line: int, source: Any, assertion: bool = False, astnode: ast.AST | None = None) -> Any:
    """Find the statement of a line, for a traceback. Most lines are in the same few large modules."""
    return _find_statement_in(line, source, assertion, _parse(str(source)) if astnode is None else astnode)


@functools.lru_cache(maxsize=100)
def _parse(source: str) -> ast.AST:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(source, "source", "exec")


_find_module: Any = inspect.getmodule


def _module_of(thing: Any, file: str | None = None) -> Any:
    """Find a module, but not for the code of a traceback: to read a file that exists, none is needed.

    Python looks at each loaded module to find it, of which the suite has thousands.
    """
    is_read_without = isinstance(thing, types.CodeType) and file is not None and os.path.exists(file)
    return None if is_read_without else _find_module(thing, file)


class _ReadOnce(importlib.metadata.Distribution):
    """A distribution whose files are read once."""

    def __init__(self, found: importlib.metadata.Distribution, left_out: Collection[str]) -> None:
        self._found = found
        self._left_out = left_out

    @functools.cached_property
    def metadata(self) -> Any:
        return self._found.metadata

    @functools.cached_property
    def files(self) -> Any:
        return self._found.files

    @functools.cached_property
    def entry_points(self) -> Any:
        return [point for point in self._found.entry_points if point.name not in self._left_out]

    def read_text(self, filename: str) -> str | None:
        return self._found.read_text(filename)

    def locate_file(self, path: Any) -> Any:
        return self._found.locate_file(path)


@functools.cache
def _distributions_with_plugins(*, without_idle: bool) -> list[importlib.metadata.Distribution]:
    left_out = _NEVER_IN_USE if without_idle else ()
    found = importlib.metadata.distributions()
    is_asked = {"pytest11", "aquila"}
    return [_ReadOnce(one, left_out) for one in found if is_asked & {point.group for point in one.entry_points}]
