"""What is added to the report of a test, or of a module, whose error says something that Aquila knows a way out of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from aquila.lazy_imports import lazy_modules
from aquila.recording.runtime import Run
from pytest_aquila import key_advice

if TYPE_CHECKING:
    from pytest_aquila import sealed_run
else:
    lazy_modules(globals(), sealed_run="pytest_aquila.sealed_run")


def add_advice(
    report: pytest.TestReport | pytest.CollectReport, failure: pytest.ExceptionInfo[Any] | None, run: Run
) -> None:
    """Add to a report what helps against ``failure``, if anything is known that does."""
    if failure is None:
        return
    advice = [key_advice.advise_on_missing_key(str(failure.value), run)]
    if run.layers.resolve().guard == "sealed":
        advice.append(sealed_run.advise_on_ports(report.longreprtext))
    report.sections += [("aquila", text) for text in advice if text is not None]
