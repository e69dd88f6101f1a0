"""A provider that notes its requests, and `aquila serve` in front of it."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from aquila.cli.serve import scope_options
from aquila.recording.scope import Scope
from aquila.server.admission import Admission
from aquila.server.application import build_application
from aquila.server.background_server import BackgroundServer, RenewableScope
from aquila.server.connection import BoundedConnection
from aquila.transports.callers.proxy import Proxy
from tests.support.upstream import Upstream, streamed, upstream

NODE_PACKAGES = ("openai@7.57.0", "ws@8.23.0")

TOKEN = "a-long-enough-token"
ADMISSION = Admission(TOKEN)


@pytest.fixture
def provider(root: Path) -> Iterator[Upstream]:
    with upstream(lambda path, body: streamed("one two three")) as running:
        yield running


Serve = Callable[..., AbstractContextManager[BackgroundServer]]


@pytest.fixture
def serve(provider: Upstream) -> Serve:
    """Run the server with a value of ``--record``. The recording is stored when the block ends."""

    @contextlib.contextmanager
    def serving(
        record: str | None = None,
        cassette: str | None = "x",
        key: str | None = None,
        admission: Admission = ADMISSION,
        connection: type[BoundedConnection] = BoundedConnection,
        upstream: str | None = None,
        certificate: Path | None = None,
        **options: Any,
    ) -> Iterator[BackgroundServer]:
        served = RenewableScope(
            lambda: Scope(kind="block", name="aquila serve", default_cassette=cassette, options=scope_options(record))
        )
        at = provider.url if upstream is None else f"http{upstream.removeprefix('ws')}"
        proxy = Proxy(lambda: served.scope, upstream=at, key=key)
        try:
            app = build_application(proxy, admission, reset=served.reset_scope, **options)
            with BackgroundServer(
                app, token=admission.token, connection=connection, certificate=certificate
            ) as running:
                yield running
        finally:
            served.close()

    return serving


@pytest.fixture(scope="session")
def node() -> Path:
    """A folder with the programs for Node, and their packages. Skips if Node or a package cannot be installed."""
    for command in ("node", "npm"):
        if shutil.which(command) is None:
            pytest.skip(f"{command} is not installed")
    folder = Path(__file__).parents[2] / "build" / "node" / "_".join(NODE_PACKAGES)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "lock"):
        if not (folder / "complete").exists():
            _install_packages(folder)
            (folder / "complete").touch()
        for program in Path(__file__).parent.glob("*.mjs"):
            if not (folder / program.name).exists() or (folder / program.name).read_text() != program.read_text():
                shutil.copy(program, folder)
    return folder


def _install_packages(folder: Path) -> None:
    options = ["--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline", "--fetch-retries=0"]
    try:
        done = subprocess.run(
            ["npm", "install", *options, *NODE_PACKAGES],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    except subprocess.TimeoutExpired:
        pytest.skip("npm install took longer than a minute")
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["unknown"])[0]
        pytest.skip(f"npm cannot install {' and '.join(NODE_PACKAGES)} here: {reason}")
