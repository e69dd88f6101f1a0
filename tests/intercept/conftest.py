"""A project of its own outside pytest's rules, and a server that counts what reaches it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import aiohttp  # noqa: F401
import anyio._backends._asyncio  # noqa: F401
import httpcore  # noqa: F401
import httpcore2  # noqa: F401
import httpx  # noqa: F401
import httpx2  # noqa: F401
import openai  # noqa: F401
import pytest
import requests  # noqa: F401

# Loaded here, so that runs of pytest within this process do not load them anew each time.
import aquila._using
import aquila.cassettes.codecs.yaml
import aquila.cassettes.diff
import aquila.cassettes.recording
import aquila.transports.bridge
import aquila.transports.guard  # noqa: F401
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
