"""A project of its own outside pytest's rules, and a server that counts what reaches it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import tests.support.preloaded  # noqa: F401
from aquila import config
from tests.support.upstream import Upstream, streamed, upstream


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr("aquila._ambient.opener", None)
    with config.layers(root=tmp_path):
        yield tmp_path / "cassettes"


@pytest.fixture
def server(root: Path) -> Iterator[Upstream]:
    with upstream(lambda path, body: streamed("one two three")) as running:
        yield running
