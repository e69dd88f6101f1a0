"""The fixtures about cassettes: of this process, and of a server for programs that know nothing of Aquila."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from aquila.recording.used_cassette import UsedCassette
    from aquila.server.background_server import BackgroundServer


@pytest.fixture
def aquila_cassette(request: pytest.FixtureRequest) -> UsedCassette:
    """The cassette of this test: any model request in the test is answered from it, or recorded into it.

    It is named after the test (``cassettes/<module path>/<test>.yaml``), or as ``@pytest.mark.aquila("name")`` says.
    """
    from aquila.recording.used_cassette import UsedCassette  # noqa: PLC0415 - loaded when a test wants it
    from pytest_aquila.test_scopes import scope_of  # noqa: PLC0415 - loaded when a test wants it

    return UsedCassette(scope_of(request.node, with_cassette=True))


@pytest.fixture
def aquila_server(aquila_cassette: UsedCassette, request: pytest.FixtureRequest) -> Iterator[BackgroundServer]:
    """A server that answers from the cassette of this test: ``url``, and ``base_url`` for clients of OpenAI's.

    ``OPENAI_BASE_URL`` is set to it, for child processes too.
    """
    from aquila.optional import import_optional  # noqa: PLC0415 - loaded when a test wants it

    for module in ("starlette", "uvicorn"):
        import_optional(module, "serve", purpose="the fixture aquila_server")
    from aquila.server.application import build_application  # noqa: PLC0415 - loaded when a test wants it
    from aquila.server.background_server import BackgroundServer  # noqa: PLC0415 - loaded when a test wants it
    from aquila.transports.proxy import Proxy  # noqa: PLC0415 - loaded when a test wants it
    from pytest_aquila.test_scopes import scope_of  # noqa: PLC0415 - loaded when a test wants it

    scope = scope_of(request.node)
    settings = scope.settings
    upstream = settings.base_url if settings.upstream == "live" else settings.upstream
    with (
        BackgroundServer(build_application(Proxy(lambda: scope, upstream=upstream, key=settings.api_key))) as running,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("OPENAI_BASE_URL", running.base_url)
        yield running
