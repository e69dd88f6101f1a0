from __future__ import annotations

import pytest

from tests.support.engines import ENGINES, Engine


@pytest.fixture(params=ENGINES, ids=lambda engine: engine.name)
def engine(request: pytest.FixtureRequest) -> Engine:
    """The sync engine, and in a second run of the test the async engine."""
    return request.param


@pytest.fixture(params=["chat", "responses"])
def endpoint(request: pytest.FixtureRequest) -> str:
    return request.param
