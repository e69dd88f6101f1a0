"""Layers that replace another recorder's plugin, for suites that were written for it. The ini file turns one on.

Marks, fixtures, options and hooks of pytest-recording, pytest-vcr and cassetter work on ``aquila.vcr``, and so on
Aquila's recorder. ``pytest_recording``, ``pytest_vcr`` and ``cassetter`` are the plugins that are registered then.
``marks_and_options`` reads the marks and options of pytest-recording, and ``cassettes`` opens the cassette of a
marked test; ``hooks`` has the hook of pytest-recording. ``cassetter_config`` and ``cassetter_objects`` are cassetter's
configuration and cassettes. ``docs/migrating.md`` lists the differences.

Begin with ``pytest_recording``. Imported by ``plugin``.
"""

from __future__ import annotations

import pytest

from aquila.optional import import_vcrpy
from aquila.setting_lines import place_of_settings
from pytest_aquila.options import CASSETTER_COMPAT, COMPAT, PYTEST_VCR_COMPAT, REPLACED_RECORDERS, settings_file
from pytest_aquila.run_life import raising_usage_errors
from pytest_aquila.vcr_compat import cassetter, hooks, marks_and_options, pytest_recording, pytest_vcr

_NAMES = {"recording": COMPAT, "vcr": PYTEST_VCR_COMPAT, "cassetter": CASSETTER_COMPAT}
"""The names under which the replaced plugins register, each with the key of its layer."""


def turn_on(config: pytest.Config, parser: pytest.Parser) -> None:
    """Turn on the layer that the ini file names, before the whole command line is parsed.

    Raises ``UsageError`` if a plugin is active that declares the same marks and fixtures, if vcrpy is missing or too
    old, and if the ini file names more than one layer.
    """
    manager = config.pluginmanager
    key, *others = (key for key in REPLACED_RECORDERS if config.getini(key))
    if others:
        raise pytest.UsageError(f"{key} and {others[0]} declare the same fixtures; take one of them away")
    for name, own_key in _NAMES.items():
        if manager.hasplugin(name):
            package, instead = REPLACED_RECORDERS[own_key], ""
            if own_key != key:
                instead = f"; if the suite was written for it, write {own_key} in place of {key}"
            raise pytest.UsageError(
                f"{key} stands in for {REPLACED_RECORDERS[key]}, and {package} is here, which declares the same: "
                f"uninstall {package}, or run with -p no:{name}{instead}"
            )
    with raising_usage_errors():
        import_vcrpy(purpose=f"{key} in {place_of_settings(settings_file(config))}")
    if key == CASSETTER_COMPAT:
        cassetter.add_options(parser)
        manager.register(cassetter, "aquila-compat")
    elif key == PYTEST_VCR_COMPAT:
        pytest_vcr.add_options(parser)
        manager.register(pytest_vcr, "aquila-compat")
    else:
        marks_and_options.add_options(parser.getgroup("aquila"))
        manager.add_hookspecs(hooks)
        manager.register(pytest_recording, "aquila-compat")
