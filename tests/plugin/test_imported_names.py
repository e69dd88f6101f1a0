"""Test modules import public names of Aquila, and pytest must take none of these for a test."""

from __future__ import annotations

import pytest

MODULES = ("aquila", "aquila.huey.testing", "aquila.run_report", "aquila.testing")


def test_pytest_collects_no_public_name(pytester: pytest.Pytester) -> None:
    for module in MODULES:
        name = f"test_{module.replace('.', '_')}"
        pytester.makepyfile(**{name: f"from {module} import *\n\ndef test_it(): pass\n"})
    result = pytester.runpytest_inprocess("-W", "error", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=len(MODULES))
