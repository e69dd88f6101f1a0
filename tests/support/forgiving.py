"""For tests of what is refused: a plugin with which a refusal that was caught fails no test."""

FORGIVING = """
import pytest
from aquila.recording import runtime

@pytest.hookimpl(trylast=True, wrapper=True)
def pytest_runtest_call():
    try:
        return (yield)
    finally:
        runtime.current_run().test.refusals.clear()
"""
"""A module to be made in the folder of the tests, and named by ``-p``."""
