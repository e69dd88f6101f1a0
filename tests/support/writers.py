"""Processes that record. Tests kill them, run several at once, or fill their disk.

They are forked from a fork server that has loaded this module. So a start takes milliseconds, and no thread of the test
run is forked in the middle of its work.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import httpx2

import aquila
import aquila.cassettes.codecs.yaml.codec
import aquila.recording.storing.recorder  # loaded once, in the fork server
from aquila.errors import CassetteWriteError
from aquila.recording import scope as scopes
from aquila.recording.scope_joining import ScopeReference, join_scope
from tests.support.runs import name_upstream, separate_run
from tests.support.threads import run_at_once

URL = "https://provider.example/v1/x"


@contextlib.contextmanager
def recording_project(folder: Path) -> Iterator[Path]:
    """A project that records from a provider that echoes the request body. Yields the cassette folder."""
    echo = httpx2.MockTransport(lambda request: httpx2.Response(200, content=request.content))
    with separate_run(folder, command_line={"transport": "record", "upstream": "echo"}):
        name_upstream("echo", echo)
        yield folder / "cassettes"


def start(work: Callable[..., None], *arguments: Any) -> BaseProcess:
    """Run a function of this module in a process of its own."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    process = context.Process(target=work, args=arguments)
    process.start()
    return process


def finished(process: BaseProcess) -> int | None:
    """Wait up to a minute for a process. Return its exit code, or None if it still runs."""
    process.join(60)
    return process.exitcode


def post(client: httpx2.Client, prompt: object) -> None:
    """Make one request."""
    client.post(URL, json={"prompt": prompt})


def record_until_killed(folder: Path, name: str, done: Connection) -> None:
    """Record one interaction after the other, and send a byte to ``done`` after each."""
    with recording_project(folder), aquila.use_cassette(name), aquila.http_client() as client:
        for prompt in range(100_000):
            post(client, prompt)
            done.send_bytes(b".")


def record_anew_and_die(folder: Path) -> None:
    """Record again what the cassette has already, and be killed."""
    with recording_project(folder), aquila.use_cassette("x", record="all"), aquila.http_client() as client:
        post(client, "kept")
        os.kill(os.getpid(), signal.SIGKILL)


def record_from_eight_threads(folder: Path, process: int, together: Any) -> None:
    """Record from eight threads into a cassette into which other processes record too."""
    with recording_project(folder):
        together.wait(60)
        with aquila.use_cassette("shared"), aquila.http_client() as client:

            def ask(thread: int) -> None:
                for number in range(4):
                    post(client, f"{process}-{thread}-{number}")
                post(client, "the same everywhere")

            run_at_once(partial(ask, thread) for thread in range(8))


def join_record_and_die(folder: Path, stamp: ScopeReference) -> None:
    """Join the scope of another process, record into it, and be killed."""
    with recording_project(folder), aquila.http_client() as client:
        scopes.bind_scope(join_scope(stamp))
        post(client, "child")
        os.kill(os.getpid(), signal.SIGKILL)


def record_and_hold(folder: Path, reached: Connection) -> None:
    """Record one interaction, and keep the scope open until a message comes."""
    with recording_project(folder), aquila.use_cassette("x"), aquila.http_client() as client:
        post(client, 1)
        reached.send_bytes(b".")
        reached.recv_bytes()


def record_onto_a_full_disk(folder: Path, limit: int, prompts: list[str]) -> None:
    """Record with files limited to ``limit`` bytes. Exits with 0 if the right error is raised."""
    import resource

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with recording_project(folder), aquila.use_cassette("x"), aquila.http_client() as client:
            for number, prompt in enumerate(prompts, 1):
                post(client, prompt)
                if number == len(prompts) or limit < 3000:
                    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    except CassetteWriteError as error:
        sys.exit(0 if "cannot write " in str(error) and "The cassette is as it was" in str(error) else 2)
    sys.exit(1)


def record_without_permission(folder: Path) -> None:
    """Record as a user who may not write. Exits with 0 if no request was sent and the right error was raised."""
    if os.getuid() == 0:
        # Load all modules that are imported on first use: the other user may not be able to read the project's files.
        with (
            tempfile.TemporaryDirectory() as elsewhere,
            recording_project(Path(elsewhere)),
            aquila.use_cassette("x"),
            aquila.http_client() as client,
        ):
            post(client, "hi")
        os.setuid(65534)
    asked = False
    try:
        with recording_project(folder), aquila.use_cassette("x"), aquila.http_client() as client:
            post(client, "hi")
            asked = True
    except CassetteWriteError as error:
        sys.exit(0 if not asked and "Permission denied" in str(error) and "writable" in str(error) else 2)
    sys.exit(1)
