"""A provider under its real host name, and pytest runs of a test file that can import ``ownclients``."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator

import pytest

import tests.support.preloaded  # noqa: F401
from tests.intercept.own_sockets.answers import HOST, PARTS, events
from tests.intercept.own_sockets.clients import CLIENTS
from tests.support.real_hosts import real_hosts
from tests.support.upstream import Answer, Upstream

Run = Callable[..., pytest.RunResult]


@pytest.fixture
def provider() -> Iterator[Upstream]:
    with real_hosts(HOST, script=lambda path, body: Answer(chunks=events(PARTS))) as running:
        yield running


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    pytester.makepyfile(ownclients=CLIENTS)

    def run_tests(source: str, *options: str, in_process: bool = True) -> pytest.RunResult:
        pytester.makepyfile(test_own=textwrap.dedent(source))
        begin = pytester.runpytest_inprocess if in_process else pytester.runpytest_subprocess
        return begin("-p", "no:cacheprovider", *options)

    return run_tests
