"""Processes that record, for tests that kill them, let them run at once, or take their disk away.

They are forked from a server that has loaded this module and nothing runs in, so that a start costs milliseconds and
no thread of the test run is cut off in the middle of something.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import httpx2

import aquila
import aquila.cassettes.codecs.yaml.codec
import aquila.recording.storing.recorder  # loaded once, in the server
from aquila.cassettes.storage import cassette_lock
from aquila.errors import CassetteWriteError
from aquila.recording import scope as scopes
from aquila.recording.scope_joining import ScopeReference, join_scope
from tests.support.runs import name_upstream, separate_run

URL = "https://provider.example/v1/x"


@contextlib.contextmanager
def recording_project(folder: Path) -> Iterator[Path]:
    """A project that records from a provider that answers with what it was sent. Gives the cassette folder."""
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
    """Wait for a process and return its exit code."""
    process.join(60)
    return process.exitcode


def post(client: httpx2.Client, prompt: object) -> None:
    """Make one request."""
    client.post(URL, json={"prompt": prompt})


def record_until_killed(folder: Path, name: str, done: Connection) -> None:
    """Record one interaction after the other, and say so after each."""
    with recording_project(folder), aquila.use_cassette(name), aquila.http_client() as client:
        for prompt in range(100_000):
            post(client, prompt)
            done.send_bytes(b".")


def record_anew_and_die(folder: Path) -> None:
    """Record what is in the cassette already, and be killed."""
    with recording_project(folder), aquila.use_cassette("x", record="all"), aquila.http_client() as client:
        post(client, "kept")
        os.kill(os.getpid(), signal.SIGKILL)


def record_from_eight_threads(folder: Path, process: int, together: Any) -> None:
    """Record from eight threads into the cassette that other processes record into."""
    with recording_project(folder):
        together.wait(60)
        with aquila.use_cassette("shared"), aquila.http_client() as client:

            def ask(thread: int) -> None:
                for number in range(4):
                    post(client, f"{process}-{thread}-{number}")
                post(client, "the same everywhere")

            threads = [threading.Thread(target=ask, args=(thread,)) for thread in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()


def join_record_and_die(folder: Path, stamp: ScopeReference) -> None:
    """Record as a part of another process's scope, and be killed."""
    with recording_project(folder), aquila.http_client() as client:
        scopes.bind_scope(join_scope(stamp))
        post(client, "child")
        os.kill(os.getpid(), signal.SIGKILL)


def record_and_hold(folder: Path, reached: Connection) -> None:
    """Record one interaction and keep the scope open until told."""
    with recording_project(folder), aquila.use_cassette("x"), aquila.http_client() as client:
        post(client, 1)
        reached.send_bytes(b".")
        reached.recv_bytes()


def record_onto_a_full_disk(folder: Path, limit: int, prompts: list[str]) -> None:
    """Record with files limited to ``limit`` bytes; exit with 0 if the error is the right one."""
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
    """Record as a user who may not write; exit with 0 if nothing was asked and the error is the right one."""
    if os.getuid() == 0:
        # All that is loaded on first use has to be loaded before: the project may lie where nobody else may read.
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


def hold_lock(folder: Path, its_end: Connection) -> None:
    """Hold the lock of a cassette until told."""
    with recording_project(folder) as root, cassette_lock.hold_cassette_lock(root / "x.yaml", root):
        its_end.send_bytes(b".")
        its_end.recv_bytes()
