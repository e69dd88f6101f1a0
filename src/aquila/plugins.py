"""The plugin manager of this process, and the delivery of telemetry to plugins."""

from __future__ import annotations

import functools
import importlib.metadata
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from aquila.errors import ConfigError
from aquila.lazy_imports import lazy_modules

if TYPE_CHECKING:
    import pluggy

    from aquila import hookspecs, spelling
else:
    lazy_modules(globals(), "pluggy", "aquila: hookspecs, spelling")

logger = logging.getLogger("aquila")
logger.addHandler(logging.NullHandler())  # quiet unless the application configures logging

_SECTION = "[aquila]"
"""The head of Aquila's group, `hookspecs.PROJECT`, in a file of entry points."""


@functools.cache
def plugin_manager() -> pluggy.PluginManager:
    """Return the plugin manager. The first call loads the plugins of installed packages.

    It lives as long as the process, and holds every plugin until ``unregister`` removes it.
    """
    created = pluggy.PluginManager(hookspecs.PROJECT)
    created.add_hookspecs(hookspecs)
    if _has_installed_plugins():
        created.load_setuptools_entrypoints(hookspecs.PROJECT)
    _made.append(created)
    return created


_made: list[pluggy.PluginManager] = []
"""The plugin manager, once something has asked for it. ``_has_plugins`` looks here three times for each session."""


@functools.cache
def _has_installed_plugins() -> bool:
    """Whether any installed distribution has plugins of Aquila. In most environments none has.

    Parsing the entry points of all distributions, as pluggy does, takes ten times as long as this search.
    """
    texts = (found.read_text("entry_points.txt") for found in importlib.metadata.distributions())
    return any(_SECTION in text for text in texts if text)


def register(plugin: Any) -> Any:
    """Register a plugin and return it. A plugin is a module, a class or an object with functions marked ``hookimpl``.

    A class is instantiated first. The plugin hears of the calls that begin from now on, and may hear the rest of a call
    that has begun. Raises ``ConfigError`` if it implements no hook, or a hook that does not exist.

    Examples:
        >>> class Counter:
        ...     calls = 0
        ...     @aquila.hookspecs.hookimpl
        ...     def aquila_call_start(self):
        ...         self.calls += 1
        >>> counter = aquila.register(Counter)
        >>> reply = aquila.ask("How do eagles fly so far?")
        >>> counter.calls
        1
        >>> aquila.unregister(counter)
    """
    instance = plugin() if isinstance(plugin, type) else plugin
    try:
        plugin_manager().register(instance)
        problem = _find_mistake(instance)
    except pluggy.PluginValidationError as error:
        problem = " ".join(str(error).split())
    if problem:
        unregister(instance)
        raise ConfigError(f"{type(instance).__name__} is no plugin of aquila: {problem}")
    return instance


def _find_mistake(plugin: Any) -> str:
    """Return what is wrong with the hooks of a registered plugin, or ""."""
    # Not by `check_pending`, which also refuses other plugins. An installed one may be made for a newer Aquila.
    hooks = plugin_manager().get_hookcallers(plugin)
    if not hooks:
        return "it implements no hook; mark one with @hookimpl"
    for hook in hooks:
        needs_hook = any(each.plugin is plugin and not each.optionalhook for each in hook.get_hookimpls())
        if needs_hook and not hook.has_spec():
            known = [name for name, caller in vars(plugin_manager().hook).items() if caller.has_spec()]
            return f"there is no hook {hook.name!r}{spelling.suggest_name(hook.name, known)}"
    return ""


def unregister(plugin: Any) -> None:
    """Remove a plugin that ``register`` returned. Does nothing if it is not registered."""
    if plugin_manager().is_registered(plugin):
        plugin_manager().unregister(plugin)


def _has_plugins() -> bool:
    """Whether there may be a plugin. In most runs there is none, and this makes no plugin manager."""
    return bool(_made) or _has_installed_plugins()


def has_listeners(hook: str) -> bool:
    """Whether any plugin implements a hook."""
    return _has_plugins() and bool(getattr(plugin_manager().hook, hook).get_hookimpls())


def heard_hooks() -> frozenset[str]:
    """Return the names of the hooks that some plugin implements now."""
    if not _has_plugins():
        return frozenset()
    callers = vars(plugin_manager().hook)
    return frozenset([name for name, caller in callers.items() if caller.get_hookimpls()])


def ask_plugins(hook: str, find_wrong: Callable[[Any], Sequence[str]], expected: str) -> list[Any]:
    """Call a hook without arguments, and return the results, that of the last registered plugin first.

    ``find_wrong`` returns a text for each mistake in one result. ``expected`` describes a right result, for the error.
    Raises ``ConfigError`` for a mistake.
    """
    caller = getattr(plugin_manager().hook, hook)
    given: list[Any] = caller()
    wrong = [text for each in given for text in find_wrong(each)]
    if wrong:
        # All plugins are named: a wrapper may have changed the results, so it is not known who made the mistake.
        names = ", ".join(_name_of(each.plugin) for each in caller.get_hookimpls())
        raise ConfigError(f"the hook {hook} (of {names}) gave {', '.join(wrong)}; it must give {expected}")
    return given


def ask_for_items(hook: str, is_right: Callable[[Any], bool], expected: str) -> list[Any]:
    """``ask_plugins`` for a hook that returns a list. Return the items of all lists. ``is_right`` checks one item."""

    def find_wrong(given: Any) -> list[str]:
        if isinstance(given, (str, bytes, Mapping)) or not isinstance(given, Collection):
            return [type(given).__name__]
        return [f"a list with {type(each).__name__}" for each in given if not is_right(each)]

    return [each for items in ask_plugins(hook, find_wrong, expected) for each in items]


def _name_of(plugin: Any) -> str:
    name: str = getattr(plugin, "__name__", type(plugin).__name__)
    return name


def notify_plugins(hook: str, **arguments: Any) -> None:
    """Call a hook of every plugin with ``arguments``.

    An exception is logged, and the other plugins are still called.
    """
    # pluggy's own call would stop at the first exception. pluggy calls the implementation registered last first, which
    # is at the end of this list.
    for implementation in reversed(getattr(plugin_manager().hook, hook).get_hookimpls()):
        try:
            implementation.function(*(arguments[name] for name in implementation.argnames))
        except Exception:  # telemetry must never break a call
            logger.exception("plugin %s failed in %s", _name_of(implementation.plugin), hook)
