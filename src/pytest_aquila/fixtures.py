"""The fixtures about cassettes: of this process, and of a server for programs that know nothing of Aquila."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from aquila.lazy_imports import lazy_modules

if TYPE_CHECKING:
    from aquila import optional
    from aquila.recording import refusals, used_cassette
    from aquila.recording.refusals import Refusals
    from aquila.recording.used_cassette import UsedCassette
    from aquila.server import application, background_server
    from aquila.server.background_server import BackgroundServer
    from aquila.transports import proxy
    from pytest_aquila import test_scopes
else:
    lazy_modules(
        globals(),
        application="aquila.server.application",
        background_server="aquila.server.background_server",
        optional="aquila.optional",
        proxy="aquila.transports.proxy",
        refusals="aquila.recording.refusals",
        test_scopes="pytest_aquila.test_scopes",
        used_cassette="aquila.recording.used_cassette",
    )

__all__ = ["aquila_cassette", "aquila_refusals", "aquila_server"]


@pytest.fixture
def aquila_cassette(request: pytest.FixtureRequest) -> UsedCassette:
    """The cassette of this test: any model request in the test is answered from it, or recorded into it.

    It is named after the test (``cassettes/<module path>/<test>.yaml``), or as ``@pytest.mark.aquila("name")`` says.
    """
    return used_cassette.UsedCassette(test_scopes.scope_of(request.node, with_cassette=True))


@pytest.fixture
def aquila_refusals(request: pytest.FixtureRequest) -> Refusals:
    """What the guard refused in this test. A test that is about refusals ends with ``aquila_refusals.forget()``."""
    running = request.config.stash[test_scopes.RUN].test
    if running is None:
        raise RuntimeError("no test runs")  # a plugin that runs tests by another way than pytest's protocol
    return refusals.Refusals(running)


@pytest.fixture
def aquila_server(aquila_cassette: UsedCassette, request: pytest.FixtureRequest) -> Iterator[BackgroundServer]:
    """A server that answers from the cassette of this test: ``url``, and ``base_url`` for clients of OpenAI's.

    ``OPENAI_BASE_URL`` is set to it, for child processes too.
    """
    for module in ("starlette", "uvicorn"):
        optional.import_optional(module, "serve", purpose="the fixture aquila_server")
    scope = test_scopes.scope_of(request.node)
    settings = scope.settings
    upstream = settings.base_url if settings.upstream == "live" else settings.upstream
    with (
        background_server.BackgroundServer(
            application.build_application(proxy.Proxy(lambda: scope, upstream=upstream, key=settings.api_key))
        ) as running,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("OPENAI_BASE_URL", running.base_url)
        yield running
