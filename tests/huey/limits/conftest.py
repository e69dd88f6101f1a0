"""The provider of the tests of limits."""

import pytest

from tests.huey.limits.providers import Provider


@pytest.fixture
def provider():
    return Provider()
