"""The short names of the fixtures for Huey tasks, only for projects with a Huey under test.

These are projects whose ini key ``aquila_huey`` names a Huey, or that override the fixture ``aquila_huey``. A fixture
of the same name in the project or in any plugin overrides the one here. ``fixture_names`` registers them.
"""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from aquila.setting_lines import placed_setting
from pytest_aquila import fixture_names
from pytest_aquila.options import settings_file

NAMES = (
    "all_enqueued",
    "assert_dead_letter",
    "assert_enqueued",
    "assert_unique",
    "build_task",
    "drain_queue",
    "perform_job",
    "refute_dead_letter",
    "refute_enqueued",
    "run_consumer",
    "run_periodic",
    "use_test_queue",
)


def advise_on_short_name(error: object, config: pytest.Config) -> str | None:
    """Return advice for a test that uses a short name that is not available, or None."""
    name = getattr(error, "argname", None)
    if name not in NAMES or fixture_names.has_short_names(config):
        return None
    return (
        f"{name} is the short name of aquila_{name}. To use it, name the Huey under test (module:attribute), as "
        f"{placed_setting('huey', 'myapp.tasks:huey', settings_file(config))}, or override the fixture aquila_huey"
    )


def _make_fixture(name: str) -> Any:
    """Return a fixture that is another one, under its name without the prefix."""
    full = f"aquila_{name}"

    def hand_on(**fixtures: Any) -> Any:
        return fixtures[full]

    hand_on.__name__, hand_on.__doc__ = name, f"The fixture ``{full}``."
    # By the signature pytest finds the other fixture, and sets it up like any that a test names.
    named = inspect.Parameter(full, inspect.Parameter.KEYWORD_ONLY)
    vars(hand_on)["__signature__"] = inspect.Signature([named])
    return pytest.fixture(name=name)(hand_on)


globals().update({name: _make_fixture(name) for name in NAMES})
