"""A project of its own outside pytest's rules, and a server that counts what reaches it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import tests.support.preloaded  # noqa: F401
from tests.support.upstream import Upstream, streamed, upstream


@pytest.fixture
def server(root: Path) -> Iterator[Upstream]:
    with upstream(lambda path, body: streamed("one two three")) as running:
        yield running
