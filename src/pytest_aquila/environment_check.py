"""Warnings of variables that look like settings of Aquila but are none. A misspelt one would be ignored in silence."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from aquila.option_table import OPTIONS
from aquila.spelling import suggest_name

_PREFIX = "AQUILA_"
_OTHERS = ("SESSION", "SERVER_TOKEN", "UNDER_TEST", "CORPUS", "FUZZ")
"""The rest of the names of known variables that are not settings: between processes, and of this project's tests."""
_OTHER_PREFIXES = ("BENCH_", "SUBJECT")


def find_unknown_variables() -> Iterator[str]:
    """Yield a sentence for each variable that looks like a setting but is read by nothing."""
    settings = {option.env for option in OPTIONS.values() if option.env}
    for name in sorted(os.environ):
        inner = name.removeprefix(_PREFIX)
        if inner == name or name in settings or inner in _OTHERS or inner.startswith(_OTHER_PREFIXES):
            continue
        yield f"the environment variable {name} is not one that Aquila knows{suggest_name(name, settings)}"


def warn_of_unknown_variables(config: pytest.Config) -> None:
    """Warn of each unknown variable. Raises ``UsageError`` if the run turns warnings into errors."""
    for sentence in find_unknown_variables():
        try:
            config.issue_config_time_warning(pytest.PytestConfigWarning(sentence), stacklevel=2)
        except pytest.PytestConfigWarning as warning:
            raise pytest.UsageError(str(warning)) from None
