"""Advice that is added to the report of a failed test or module if Aquila knows a remedy for its error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from aquila.errors import ConfigError
from aquila.lazy_imports import lazy_modules
from aquila.setting_lines import place_of_settings
from pytest_aquila import key_advice, test_scopes
from pytest_aquila.options import (
    CASSETTER_COMPAT,
    COMPAT,
    PYTEST_VCR_COMPAT,
    REPLACED_RECORDERS,
    replaces_recorder,
    settings_file,
)
from pytest_aquila.outcomes import text_of
from pytest_aquila.tasks import short_names

if TYPE_CHECKING:
    from pytest_aquila import sealed_run
else:
    lazy_modules(globals(), "pytest_aquila: sealed_run")

_RECORDER_FIXTURES = {
    **dict.fromkeys(("vcr", "vcr_config", "vcr_cassette_dir"), tuple(REPLACED_RECORDERS)),
    **dict.fromkeys(("vcr_markers", "default_cassette_name"), (COMPAT,)),
    **dict.fromkeys(("vcr_cassette", "vcr_cassette_name"), (PYTEST_VCR_COMPAT,)),
    "cassette": (CASSETTER_COMPAT,),
}
"""The fixtures of other recorders that tests ask for by name, and the keys of the layers that have them."""


def add_advice(
    report: pytest.TestReport | pytest.CollectReport,
    failure: pytest.ExceptionInfo[Any] | None,
    config: pytest.Config,
    item: pytest.Item | None = None,
) -> None:
    """Add to ``report`` a section with advice against ``failure``, if Aquila knows any.

    ``item`` is the test that failed; None for a module.
    """
    if failure is None:
        return
    scope = test_scopes.opened_scope(item) if item is not None else None
    try:
        of_run = config.stash[test_scopes.RUN].layers.resolve()
        of_test = of_run if scope is None else scope.settings
    except ConfigError:  # a test has left a wrong one
        return
    advice = [
        key_advice.advise_on_missing_key(failure.value, of_run, of_test),
        key_advice.advise_on_cloud_credentials(failure.value, of_test),
        key_advice.advise_on_dummy(text_of(failure.value), of_run),
        short_names.advise_on_short_name(failure.value, config),
        _advise_on_recorder_fixture(failure.value, config),
    ]
    if item is not None:
        advice.append(key_advice.advise_on_condition(failure.value, item, of_run))
    if of_run.guard == "sealed":
        advice.append(sealed_run.advise_on_ports(report.longreprtext))
    report.sections += [("aquila", text) for text in advice if text is not None]


def _advise_on_recorder_fixture(error: object, config: pytest.Config) -> str | None:
    """Return advice for a test that lacks a fixture of another recorder, or None."""
    name = getattr(error, "argname", None)
    layers = _RECORDER_FIXTURES.get(name) if isinstance(name, str) else None
    if layers is None or replaces_recorder(config):
        return None
    plugins = _join([REPLACED_RECORDERS[key] for key in layers], "and")
    keys = _join([f"{key} = true (for tests of {REPLACED_RECORDERS[key]})" for key in layers], "or")
    place = place_of_settings(settings_file(config))
    return f"{name} is a fixture of {plugins}. To have it from Aquila, add to {place}: {keys}"


def _join(names: list[str], word: str) -> str:
    return f" {word} ".join(filter(None, (", ".join(names[:-1]), names[-1])))
