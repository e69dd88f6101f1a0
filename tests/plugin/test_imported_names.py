"""Test modules import public names of Aquila, and pytest must take none of these for a test."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize("module", ["aquila", "aquila.huey.testing", "aquila.run_report", "aquila.testing"])
def test_pytest_collects_no_public_name(module: str, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(f"from {module} import *\n\ndef test_it(): pass\n")
    pytester.runpytest_inprocess("-W", "error", "-p", "no:cacheprovider").assert_outcomes(passed=1)
