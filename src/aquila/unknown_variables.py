"""Environment variables that look like settings of Aquila but are none. A misspelt one would be ignored in silence."""

from __future__ import annotations

import os
from collections.abc import Iterator

from aquila.option_table import OPTIONS
from aquila.spelling import suggest_name
from aquila.variable_table import VARIABLES

_PREFIX = "AQUILA_"
_OF_OWN_TESTS = ("CORPUS", "FUZZ")
_OF_OWN_TESTS_PREFIXES = ("BENCH_", "SUBJECT")
"""The rest of the names of the variables of this project's tests and benchmarks."""


def find_unknown_variables() -> Iterator[str]:
    """Yield a sentence for each variable that looks like a setting but is read by nothing."""
    settings = {option.env for option in OPTIONS.values() if option.env}
    for name in sorted(os.environ):
        inner = name.removeprefix(_PREFIX)
        is_of_own_tests = inner in _OF_OWN_TESTS or inner.startswith(_OF_OWN_TESTS_PREFIXES)
        if inner != name and name not in settings and name not in VARIABLES and not is_of_own_tests:
            yield f"the environment variable {name} is not one that Aquila knows{suggest_name(name, settings)}"
