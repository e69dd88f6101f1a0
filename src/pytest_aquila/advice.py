"""Advice that is added to the report of a failed test or module if Aquila knows a remedy for its error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from aquila.lazy_imports import lazy_modules
from pytest_aquila import key_advice, test_scopes
from pytest_aquila.tasks import short_names

if TYPE_CHECKING:
    from pytest_aquila import sealed_run
else:
    lazy_modules(globals(), sealed_run="pytest_aquila.sealed_run")


def add_advice(
    report: pytest.TestReport | pytest.CollectReport,
    failure: pytest.ExceptionInfo[Any] | None,
    config: pytest.Config,
) -> None:
    """Add to ``report`` a section with advice against ``failure``, if Aquila knows any."""
    if failure is None:
        return
    run = config.stash[test_scopes.RUN]
    advice = [
        key_advice.advise_on_missing_key(str(failure.value), run),
        short_names.advise_on_short_name(failure.value, config),
    ]
    if run.layers.resolve().guard == "sealed":
        advice.append(sealed_run.advise_on_ports(report.longreprtext))
    report.sections += [("aquila", text) for text in advice if text is not None]
