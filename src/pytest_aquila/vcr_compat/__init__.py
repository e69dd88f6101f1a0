"""Drop-in layers for suites that were written for pytest-recording or cassetter; off unless the ini file asks for one.

Their marks, fixtures, options and hook work on ``aquila.vcr``, and so on Aquila's recorder. ``pytest_recording`` and
``cassetter`` are the plugins that are registered then, ``marks_and_options`` reads what marks and options say, and
``cassettes`` opens the cassette of a marked test; ``hooks`` is the hook of pytest-recording. ``cassetter_config`` and
``cassetter_objects`` are cassetter's configuration and cassettes. ``docs/migrating.md`` says what differs.
"""

from __future__ import annotations

import pytest

from aquila.errors import MissingDependency
from aquila.optional import import_vcrpy
from pytest_aquila.options import CASSETTER_COMPAT, COMPAT
from pytest_aquila.vcr_compat import cassetter, hooks, marks_and_options, pytest_recording

_REPLACED_PLUGINS = {"recording": "pytest-recording", "vcr": "pytest-vcr", "cassetter": "cassetter"}


def turn_on(config: pytest.Config, parser: pytest.Parser) -> None:
    """Turn on the layer that the ini file names, before the whole command line is parsed.

    Raises ``UsageError`` if the original plugin is active too, if vcrpy is missing or too old, and if the ini file
    names both layers.
    """
    manager, key = config.pluginmanager, COMPAT if config.getini(COMPAT) else CASSETTER_COMPAT
    if config.getini(COMPAT) and config.getini(CASSETTER_COMPAT):
        raise pytest.UsageError(f"{COMPAT} and {CASSETTER_COMPAT} declare the same options; take one of them away")
    for name, package in _REPLACED_PLUGINS.items():
        if manager.hasplugin(name):
            raise pytest.UsageError(
                f"{key} stands in for {package}, and both are here: uninstall {package}, or run with -p no:{name}"
            )
    try:
        import_vcrpy(purpose=f"{key} in the ini file")
    except MissingDependency as error:
        raise pytest.UsageError(str(error)) from error
    if key == CASSETTER_COMPAT:
        cassetter.add_options(parser)
        manager.register(cassetter, "aquila-compat")
        return
    marks_and_options.add_options(parser.getgroup("aquila"))
    manager.add_hookspecs(hooks)
    manager.register(pytest_recording, "aquila-compat")
