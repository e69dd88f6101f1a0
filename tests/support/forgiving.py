"""A pytest plugin for tests of refused requests: a test that catches a refusal does not fail because of it."""

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
"""The source of the plugin. Write it into the folder of the tests, and load it with ``-p``."""
