"""Warns of variables that look like settings of Aquila but are none, because a misspelt one would have no effect."""

from __future__ import annotations

import pytest

from aquila.other_variables import find_unknown_variables


def warn_of_unknown_variables(config: pytest.Config) -> None:
    """Warn of each unknown variable. Raises ``UsageError`` if the run turns warnings into errors."""
    for sentence in find_unknown_variables():
        try:
            config.issue_config_time_warning(pytest.PytestConfigWarning(sentence), stacklevel=2)
        except pytest.PytestConfigWarning as warning:
            raise pytest.UsageError(str(warning)) from None
