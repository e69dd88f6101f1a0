"""A provider that counts what reaches it, and a server before it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from aquila.cli.serve import scope_options
from aquila.recording.scope import Scope
from aquila.server.admission import Admission
from aquila.server.application import build_application
from aquila.server.background_server import BackgroundServer, RenewableScope
from aquila.server.connection import BoundedConnection
from aquila.transports.proxy import Proxy
from tests.support.upstream import Upstream, streamed, upstream

TOKEN = "a-long-enough-token"
ADMISSION = Admission(TOKEN)


@pytest.fixture
def provider(root: Path) -> Iterator[Upstream]:
    with upstream(lambda path, body: streamed("one two three")) as running:
        yield running


Serve = Callable[..., AbstractContextManager[BackgroundServer]]


@pytest.fixture
def serve(provider: Upstream) -> Serve:
    """Runs the server with a value of ``--record``. What it recorded is stored when the block ends."""

    @contextlib.contextmanager
    def serving(
        record: str | None = None,
        cassette: str | None = "x",
        key: str | None = None,
        admission: Admission = ADMISSION,
        connection: type[BoundedConnection] = BoundedConnection,
        upstream: str | None = None,
        **options: Any,
    ) -> Iterator[BackgroundServer]:
        served = RenewableScope(
            lambda: Scope(kind="block", name="aquila serve", default_cassette=cassette, options=scope_options(record))
        )
        at = provider.url if upstream is None else f"http{upstream.removeprefix('ws')}"
        proxy = Proxy(served.current_scope, upstream=at, key=key)
        try:
            app = build_application(proxy, admission, reset=served.reset_scope, **options)
            with BackgroundServer(app, token=admission.token, connection=connection) as running:
                yield running
        finally:
            served.close()

    return serving
