"""The beginning of a scope of a test: when something in the test needs it. Most runs never load this module."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aquila import errors
from aquila.cassettes.storage import names
from aquila.lazy_imports import lazy_modules
from aquila.recording import runtime
from aquila.recording import scope as scopes
from pytest_aquila import marker_options, node_ids, options, suggested_commands, test_scopes

if TYPE_CHECKING:
    from typing import Any

    from aquila.recording.scope import Scope
    from aquila.scripting import script
    from pytest_aquila.faulted_tests import fault_check
else:
    lazy_modules(globals(), "aquila.scripting: script", "pytest_aquila.faulted_tests: fault_check")


def asking_item() -> pytest.Item:
    """Return the test for which a fixture with the scope ``function`` is being set up.

    The test need not run by pytest's protocol. If a plugin calls the function of the fixture itself, it is the running
    test. Raises ``ConfigError`` if no test runs.
    """
    node = test_scopes.node_of_fixture.get()
    if isinstance(node, pytest.Item):
        return node
    item = test_scopes.running_item_of(runtime.current_run())
    if item is None:
        raise errors.ConfigError(
            "the fixture aquila_cassette is the cassette of one test, and no test runs here: name it as a parameter of "
            "the test, or answer a block of code with `with aquila.use_cassette(...)`"
        )
    return item


def scope_of(item: pytest.Item, *, with_cassette: bool = False) -> Scope:
    """Return the scope of a test, and open it if needed. ``with_cassette`` gives it its own cassette if it has none."""
    with item.config.stash[test_scopes.RUN].lock:  # two threads of a test that need it at the same time get one scope
        if test_scopes.SCOPE not in item.stash:
            test = node_ids.id_of(item)
            named, settings = _options_of(item)
            owns = named is None and (
                with_cassette
                # Known from the fixture's name, before its setup: other fixtures, and their clients, may come first.
                or test_scopes.uses_cassette_fixture(item)
                or (not test_scopes.uses_script_fixture(item) and item.get_closest_marker(options.MARKER) is not None)
            )
            scope = scopes.Scope(
                kind="test",
                name=test,
                command=suggested_commands.record_command(item, node_ids.note_id_to_type(item, test)),
                default_cassette=node_ids.own_cassette_name(item, test) if owns else named,
                owns_cassette=owns,
                options=settings,
            )
            _check_name(scope, named)
            if test_scopes.uses_script_fixture(item):
                scope.scripts.lend(script.Script())  # for processes of fixtures that come before aquila_script
            item.stash[test_scopes.SCOPE], item.stash[test_scopes.MARKED] = scope, (named, settings)
            if test_scopes.PREPARE_SCOPE in item.stash:
                item.stash[test_scopes.PREPARE_SCOPE](scope)
            scopes.open_scope(scope)
            return scope
        scope = item.stash[test_scopes.SCOPE]
        if with_cassette:
            _follow_markers(item, scope)
            if scope.default_cassette is None:
                scope.use_cassette(node_ids.own_cassette_name(item, node_ids.id_of(item)), owned=True)
        return scope


def _check_name(scope: Scope, named: str | None) -> None:
    """Raise ``CassetteNameError`` for a name that no cassette can have, before the scope is said to use it."""
    if named is not None:
        names.folder_of_cassette(scope.settings.cassette_root(), named)


def _options_of(item: pytest.Item) -> tuple[str | None, dict[str, Any]]:
    """Return the cassette and the settings of a test's markers. Raises ``ConfigError``, also for impossible faults."""
    named, settings = marker_options.options_of(item)
    if settings.get("faults") is not None:
        fault_check.check_faults(item, named, settings["faults"])
    return named, settings


def _follow_markers(item: pytest.Item, scope: Scope) -> None:
    """Apply markers that a fixture has added to a test since its scope was opened."""
    named, settings = _options_of(item)
    if (named, settings) == item.stash[test_scopes.MARKED]:
        return
    item.stash[test_scopes.MARKED] = named, settings
    if named is not None:
        _check_name(scope, named)
        scope.use_cassette(named, owned=False)
    scope.override_settings(settings, source=node_ids.id_of(item))
