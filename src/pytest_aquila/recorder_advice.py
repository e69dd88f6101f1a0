"""Advice for a test that asks for a fixture of another recorder's plugin, while no layer stands in for that plugin."""

from __future__ import annotations

import pytest

from pytest_aquila.options import CASSETTER_COMPAT, COMPAT, replaces_recorder

_LAYERS = {"pytest-recording": COMPAT, "cassetter": CASSETTER_COMPAT}
_BOTH = tuple(_LAYERS)
_FIXTURES = {
    **dict.fromkeys(("vcr", "vcr_config", "vcr_cassette_dir"), _BOTH),
    **dict.fromkeys(("vcr_markers", "default_cassette_name"), ("pytest-recording",)),
    "cassette": ("cassetter",),
}
"""The fixtures of other recorders that tests ask for by name, and whose they are."""


def advise_on_recorder_fixture(error: object, config: pytest.Config) -> str | None:
    """Return advice for a test that lacks a fixture of another recorder, or None."""
    name = getattr(error, "argname", None)
    plugins = _FIXTURES.get(name) if isinstance(name, str) else None
    if plugins is None or replaces_recorder(config):
        return None
    keys = " or ".join(f"{_LAYERS[plugin]} = true (for tests of {plugin})" for plugin in plugins)
    return f"{name} is a fixture of {' and of '.join(plugins)}. To have it from Aquila, add to the ini file: {keys}"
