"""Shared by all tests of the repository, the examples' included."""

pytest_plugins = ["pytester", "tests.support.hangs"]
