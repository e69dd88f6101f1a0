from __future__ import annotations

from collections import Counter

import pytest

from tests.support.engines import ENGINES, Engine


@pytest.fixture(params=ENGINES, ids=lambda engine: engine.name)
def engine(request: pytest.FixtureRequest) -> Engine:
    """The sync engine, and in a second run of the test the async engine."""
    return request.param


@pytest.fixture(params=["chat", "responses"])
def endpoint(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """In the fast tests, try each row of a table with one engine, in turns: most of what it shows the engines share.

    So a test that runs with each engine and each endpoint is fast for two of the four pairs.
    """
    rows = Counter[tuple[str, int]]()
    for item in items:
        places = item.callspec.indices if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
        if "engine" in places and len(places) > 1:
            here = item.nodeid.partition("[")[0], places["engine"]
            rows[here] += 1
            if (rows[here] + places["engine"]) % 2 == 0:
                item.add_marker(pytest.mark.slow)
