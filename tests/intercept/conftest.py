"""Servers that note their requests: one for a separate project, and one that stands in for a provider."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import tests.support.preloaded  # noqa: F401
from tests.support.guarded import GuardedRun
from tests.support.upstream import Answer, Upstream, streamed, upstream


@pytest.fixture
def server(root: Path) -> Iterator[Upstream]:
    with upstream(lambda path, body: streamed("one two three")) as running:
        yield running


@pytest.fixture
def echoing(server: Upstream) -> Upstream:
    """The server, whose answers are the prompts."""
    server.script = lambda path, body: Answer(chunks=[json.loads(body)["prompt"].encode()])
    return server


@pytest.fixture
def provider() -> Iterator[Upstream]:
    """A server that stands in for a provider, and that nothing should reach."""
    with upstream(lambda path, body: streamed("never")) as running:
        yield running


@pytest.fixture
def run(pytester: pytest.Pytester, provider: Upstream) -> GuardedRun:
    """A guarded run whose ini file lists the server as a provider."""
    return GuardedRun(pytester, provider)
