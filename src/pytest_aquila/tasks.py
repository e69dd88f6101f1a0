"""Fixtures for Huey tasks. Nothing of Huey is imported before one of them is used."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from aquila.huey.testing import TaskRun

INI = (
    ("aquila_huey", 'the Huey under test, as "module:attribute"'),
    (
        "aquila_huey_storage",
        "where its tasks go in a test: memory (default), or own, which is emptied before each test",
    ),
)
"""The ini keys of these fixtures, with their help."""


@pytest.fixture
def aquila_huey(pytestconfig: pytest.Config) -> Any:
    """The Huey under test: the ini key ``aquila_huey``. Override this fixture to give another."""
    from aquila.errors import ConfigError

    path = str(pytestconfig.getini("aquila_huey") or "")
    module, _, attribute = path.partition(":")
    if not module or not attribute:
        raise ConfigError(
            'which Huey is under test? Write `aquila_huey = "myapp.tasks:huey"` into the ini file '
            "(module:attribute), or override the fixture aquila_huey"
            + (f"; {path!r} is not of that form" if path else "")
        )
    import importlib

    found: Any = importlib.import_module(module)
    for name in attribute.split("."):
        if not hasattr(found, name):
            raise ConfigError(f"the ini key aquila_huey says {path!r}, and {module} has no {attribute!r}")
        found = getattr(found, name)
    return found


@pytest.fixture
def aquila_tasks(aquila_huey: Any, pytestconfig: pytest.Config) -> Iterator[Any]:
    """The Huey under test, in manual mode with an empty queue. The other fixtures here use it."""
    from aquila.huey.testing import testing_mode

    with testing_mode(aquila_huey, storage=pytestconfig.getini("aquila_huey_storage") or "memory") as huey:
        yield huey


@pytest.fixture
def perform_job(aquila_tasks: Any) -> Callable[..., TaskRun]:
    """``aquila.huey.testing.perform_job``: execute one task as a worker would."""
    from aquila.huey.testing import perform_job

    return perform_job


@pytest.fixture
def build_task(aquila_tasks: Any) -> Callable[..., Any]:
    """``aquila.huey.testing.build_task``: a task that is not enqueued."""
    from aquila.huey.testing import build_task

    return build_task
