"""Advice for a test that asks for a fixture of another recorder's plugin, while no layer stands in for that plugin."""

from __future__ import annotations

import pytest

from aquila.typed_settings import place_of_settings
from pytest_aquila.options import (
    CASSETTER_COMPAT,
    COMPAT,
    PYTEST_VCR_COMPAT,
    REPLACED_RECORDERS,
    replaces_recorder,
    settings_file,
)

_FIXTURES = {
    **dict.fromkeys(("vcr", "vcr_config", "vcr_cassette_dir"), tuple(REPLACED_RECORDERS)),
    **dict.fromkeys(("vcr_markers", "default_cassette_name"), (COMPAT,)),
    **dict.fromkeys(("vcr_cassette", "vcr_cassette_name"), (PYTEST_VCR_COMPAT,)),
    "cassette": (CASSETTER_COMPAT,),
}
"""The fixtures of other recorders that tests ask for by name, and the keys of the layers that have them."""


def advise_on_recorder_fixture(error: object, config: pytest.Config) -> str | None:
    """Return advice for a test that lacks a fixture of another recorder, or None."""
    name = getattr(error, "argname", None)
    layers = _FIXTURES.get(name) if isinstance(name, str) else None
    if layers is None or replaces_recorder(config):
        return None
    plugins = _join([REPLACED_RECORDERS[key] for key in layers], "and")
    keys = _join([f"{key} = true (for tests of {REPLACED_RECORDERS[key]})" for key in layers], "or")
    place = place_of_settings(settings_file(config))
    return f"{name} is a fixture of {plugins}. To have it from Aquila, add to {place}: {keys}"


def _join(names: list[str], word: str) -> str:
    return f" {word} ".join(filter(None, (", ".join(names[:-1]), names[-1])))
