"""The fixtures about cassettes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from aquila.recording.used_cassette import UsedCassette


@pytest.fixture
def aquila_cassette(request: pytest.FixtureRequest) -> UsedCassette:
    """The cassette of this test: any model request in the test is answered from it, or recorded into it.

    It is named after the test (``cassettes/<module path>/<test>.yaml``), or as ``@pytest.mark.aquila("name")`` says.
    """
    from aquila.recording.used_cassette import UsedCassette
    from pytest_aquila.test_scopes import scope_of

    return UsedCassette(scope_of(request.node, with_cassette=True))
