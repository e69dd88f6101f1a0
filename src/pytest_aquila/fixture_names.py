"""The fixtures of Aquila, which are registered with pytest when the first of their module is looked up.

Each fixture costs a run about as much time as a module of Aquila, because pytest inspects its signature whether a test
uses it or not. So the modules that define them are registered late. The result of a lookup is the same as if they had
been registered at the start: fixtures of other plugins and of conftests override them.

``short_names`` has the fixtures for Huey tasks under names without the prefix. Only projects with a Huey under test
get them.
"""

from __future__ import annotations

import importlib
import types
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from aquila.lazy_imports import lazy_modules
from pytest_aquila.options import read_key

if TYPE_CHECKING:
    from pytest_aquila.tasks import short_names

    Definitions = Sequence[pytest.FixtureDef[Any]] | None
else:
    lazy_modules(globals(), "pytest_aquila.tasks: short_names")

PREFIX = "aquila_"
MODULES = ("pytest_aquila.fixtures", "pytest_aquila.tasks.task_fixtures")
"""The modules with the fixtures that every project has. Of these, few projects use those for tasks."""

SHORT_NAMES = "pytest_aquila.tasks.short_names"


class _LateFixtures:
    """Looks up fixtures instead of the session's fixture manager, and registers Aquila's when one is needed."""

    def __init__(self, session: pytest.Session) -> None:
        self._plugins = session.config.pluginmanager
        # Private to pytest: every look-up of a fixture goes through this method, and no hook tells of one.
        self._find: Callable[[str, Any], Definitions] = session._fixturemanager.getfixturedefs
        self._unregistered = [*MODULES]
        self._names: set[str] = set()  # of the fixtures that are registered
        self.collector: pytest.Collector | None = None
        """The collector for which overrides were looked for last."""

    def find(self, argname: str, node: pytest.Item | pytest.Collector) -> Definitions:
        """Return the definitions of a fixture that a node sees, the nearest last, as pytest's manager does."""
        if not argname.startswith(PREFIX):
            found = self._find(argname, node)
            # During collection `pytest_generate_tests` may give a value for the name. If a test that runs needs a
            # fixture of that name, it is misspelt, and pytest will list all fixtures.
            if found is None and argname != "request" and node.session.testscollected:
                self.register()
            return found
        self.register(argname)
        found = self._find(argname, node)
        # They were registered late, so they are behind those of other plugins. The last one wins, so they move first.
        return found and sorted(found, key=_is_foreign)

    def is_overridden(self, name: str, node: pytest.Item | pytest.Collector) -> bool:
        """Whether a node sees a definition of one of Aquila's fixtures that is not Aquila's own."""
        return any(map(_is_foreign, self._find(name, node) or ()))

    def register(self, wanted: str = "") -> None:
        """Register the modules up to the one that has the fixture ``wanted``. All of them if none has it."""
        while self._unregistered and wanted not in self._names:
            name = self._unregistered.pop(0)
            module = importlib.import_module(name)
            self._names.update(module.__all__)
            if not self._plugins.has_plugin(name):
                self._plugins.register(module, name)


def _is_foreign(definition: pytest.FixtureDef[Any]) -> bool:
    return definition.func.__module__ not in MODULES


_late: pytest.StashKey[_LateFixtures] = pytest.StashKey()


def _look_up_late(session: pytest.Session) -> _LateFixtures:
    """Return the lookup of a session; the first call puts it in place."""
    if _late in session.config.stash:
        return session.config.stash[_late]
    late = session.config.stash[_late] = _LateFixtures(session)
    # Set on the manager of this session only, which ends with the session: no other session in the process sees it.
    vars(session._fixturemanager)["getfixturedefs"] = late.find
    if session.config.getoption("showfixtures", False):
        late.register()
    if read_key(session.config, "aquila_huey"):
        _register_short_names(session)
    return late


def look_up_late(collector: pytest.Collector) -> None:
    """Look up fixtures here from the first collector on, before it imports a module.

    Tests may use the short names if the ini key names a Huey, or if a conftest overrides the fixture ``aquila_huey``.
    This is decided before the import of a module, because an import may put jobs into queues.
    """
    _look_up_late(collector.session)
    if isinstance(collector, pytest.Module | pytest.Package):
        _look_for_override(collector)


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(collector: pytest.Collector) -> None:
    """Let tests use the short names if the fixture ``aquila_huey`` is overridden where tests are collected."""
    late = _look_up_late(collector.session)
    if late.collector is not collector:  # all its fixtures are registered before the first of its items is made
        late.collector = collector
        _look_for_override(collector)


def _look_for_override(collector: pytest.Collector) -> None:
    if not has_short_names(collector.config) and is_huey_overridden(collector):
        _register_short_names(collector.session)
        begin_testing_mode(collector.config)


def is_huey_overridden(node: pytest.Collector | pytest.Item) -> bool:
    """Whether the fixture ``aquila_huey`` is overridden for tests at a node, or parametrized for a test."""
    parameters = getattr(getattr(node, "callspec", None), "params", ())
    return "aquila_huey" in parameters or _look_up_late(node.session).is_overridden("aquila_huey", node)


def begin_testing_mode_of_ini(config: pytest.Config) -> None:
    """Put the whole run in testing mode if the ini key ``aquila_huey`` names a Huey."""
    if read_key(config, "aquila_huey"):
        begin_testing_mode(config)


def pytest_plugin_registered(plugin: object, manager: pytest.PytestPluginManager) -> None:
    """Put the whole run in testing mode if a plugin overrides ``aquila_huey``, before hooks of a conftest are called.

    pytest also calls this for each plugin that was registered before these hooks were.
    """
    names = getattr(plugin, "__dict__", {})
    # The name of a module is compared and not that of the fixture's function, which may be imported from anywhere.
    if "aquila_huey" in names and _is_fixture(names["aquila_huey"]) and getattr(plugin, "__name__", "") not in MODULES:
        begin_testing_mode(manager.get_plugin("pytestconfig"))  # type: ignore[arg-type]


def _is_fixture(value: object) -> bool:
    # From pytest 8.4 on a fixture is an object of pytest's own; before, it was a function with a mark. Another object
    # may have the same name, such as a Huey that a conftest imports.
    return type(value).__module__ == "_pytest.fixtures" or "_pytestfixturefunction" in getattr(value, "__dict__", ())


def begin_testing_mode(config: pytest.Config) -> None:
    """Put the whole run in testing mode, unless it is in it already."""
    name = "pytest_aquila.tasks.testing_mode"
    if not config.pluginmanager.has_plugin(name):
        # Not by pytest's `import_plugin`, which warns in the second run of a process that it was imported before.
        plugin: Any = importlib.import_module(name)
        config.pluginmanager.register(plugin, name)
        plugin.begin_testing_mode(config)


def has_short_names(config: pytest.Config) -> bool:
    """Whether tests may use the short names."""
    return config.pluginmanager.has_plugin(SHORT_NAMES)


def _register_short_names(session: pytest.Session) -> None:
    """Register a plugin with these fixtures, without names that are taken, because the later plugin would win."""
    fixtures = types.ModuleType(SHORT_NAMES)
    for name in short_names.NAMES:
        if not session._fixturemanager.getfixturedefs(name, session):
            setattr(fixtures, name, getattr(short_names, name))
    session.config.pluginmanager.register(fixtures, SHORT_NAMES)
