"""The fixtures about cassettes: of this process, and of a server for programs that know nothing of Aquila."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from aquila.lazy_imports import lazy_modules

if TYPE_CHECKING:
    from aquila import optional
    from aquila.recording import used_cassette
    from aquila.recording.network import refusals
    from aquila.recording.network.refusals import Refusals
    from aquila.recording.used_cassette import UsedCassette
    from aquila.scripting import script
    from aquila.scripting.script import Script
    from aquila.server import admission, application, background_server
    from aquila.server.background_server import BackgroundServer
    from aquila.testing import use_faults
    from aquila.testing.use_faults import Faults
    from aquila.transports.callers import proxy
    from pytest_aquila import scope_starts, test_scopes
else:
    lazy_modules(
        globals(),
        "aquila: optional",
        "aquila.recording: used_cassette",
        "aquila.recording.network: refusals",
        "aquila.scripting: script",
        "aquila.server: admission, application, background_server",
        "aquila.testing: use_faults",
        "aquila.transports.callers: proxy",
        "pytest_aquila: scope_starts, test_scopes",
    )

__all__ = [
    "aquila_cassette",
    "aquila_faults",
    "aquila_refusals",
    "aquila_script",
    "aquila_server",
]


# Without `request`: pytest makes three objects for a test that has it by a fixture, and looks at a signature for each.
@pytest.fixture
def aquila_cassette() -> UsedCassette:
    """The cassette of this test: any model request in the test is answered from it, or recorded into it.

    It is named after the test (``cassettes/<module path>/<test>.yaml``), or as ``@pytest.mark.aquila("name")`` says.
    """
    return used_cassette.UsedCassette(scope_starts.scope_of(scope_starts.asking_item(), with_cassette=True))


@pytest.fixture
def aquila_script(request: pytest.FixtureRequest) -> Script:
    """Answers written by hand for this test: ``aquila_script.reply("Hello")``.

    Any client that asks a model gets them, in the form of its provider. A request without a scripted answer fails the
    test; if the test uses ``aquila_cassette``, too, that request is replayed or recorded instead. A scripted answer
    that no request gets fails the test.
    """
    scope = scope_starts.scope_of(request.node)
    written = scope.scripts.lent or script.Script()
    scope.scripts.use(written)
    return written


@pytest.fixture
def aquila_faults(request: pytest.FixtureRequest) -> Faults:
    """Faults for blocks of this test: ``with aquila_faults.overloaded(times=2): ...``.

    They change answers of the test's cassette or script. A test that names neither has a cassette of its own.
    """
    item = request.node
    return use_faults.Faults(scope_starts.scope_of(item, with_cassette=not test_scopes.uses_script_fixture(item)))


@pytest.fixture
def aquila_refusals(request: pytest.FixtureRequest) -> Refusals:
    """The requests that the guard refused in this test. A test about refusals may end with ``forget()``."""
    run = request.config.stash[test_scopes.RUN]
    if run.test is None:
        raise RuntimeError("no test runs")  # some plugin runs tests without pytest's protocol
    return refusals.Refusals(run, run.test)


@pytest.fixture
def aquila_server(aquila_cassette: UsedCassette, request: pytest.FixtureRequest) -> Iterator[BackgroundServer]:
    """A server that answers from the cassette of this test: ``url``, and ``base_url`` for clients of OpenAI's.

    ``OPENAI_BASE_URL`` is set to it, for child processes too. For a client that sends ``token`` as its API key, the
    server uses the API key of this process.
    """
    for module in ("starlette", "uvicorn", "httptools"):
        optional.import_optional(module, "serve", purpose="the fixture aquila_server")
    scope = scope_starts.scope_of(request.node)
    settings = scope.settings
    upstream = settings.base_url if settings.upstream == "live" else settings.upstream
    token = admission.make_token()
    app = application.build_application(
        proxy.Proxy(lambda: scope, upstream=upstream, key=settings.api_key), admission.Admission(token)
    )
    with background_server.BackgroundServer(app, token=token) as running, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_BASE_URL", running.base_url)
        # A child process in Python, which knows no servers of this process, would record what the server records too.
        itself = "{}:{}".format(*running.address)
        scope.override_settings({"ignore_hosts": (*settings.ignore_hosts, itself)}, source="aquila_server")
        yield running
