"""How the first of two attempts of a test is shown."""

from __future__ import annotations

import pytest

from pytest_aquila import test_scopes


class RerunStatus:
    """Shows the first of two attempts in the form that pytest-rerunfailures uses."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(
        self, report: pytest.TestReport
    ) -> tuple[str, str, str | tuple[str, dict[str, bool]]] | None:
        """Return the category, the letter and the word for such an attempt; None for other reports."""
        if report.when == test_scopes.RERUN and report.outcome == "passed":
            return "", "", ""
        if report.outcome == test_scopes.RERUN:
            return test_scopes.RERUN, "R", ("RERUN", {"yellow": True})
        return None


def show_reruns(config: pytest.Config) -> None:
    """Show first attempts in this run from now on. Called when one is planned, and in a controller of pytest-xdist."""
    if not config.pluginmanager.has_plugin(RerunStatus.__name__):
        config.pluginmanager.register(RerunStatus(), RerunStatus.__name__)
