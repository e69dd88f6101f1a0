"""A Huey that publishes its jobs, a consumer for it, and a provider that streams words."""

import contextlib
import os
import subprocess
import sys
import textwrap
import threading

import httpx2
import pytest

from aquila.huey import PostgresHuey
from aquila.huey.live import publish_jobs
from aquila.huey.live.waking import wake_ups_of
from tests.support.process_groups import process_group
from tests.support.upstream import chat_chunks


@pytest.fixture
def published(make_aquila_huey):
    """Make a Huey that publishes: ``published("redis")``. Options go to ``publish_jobs``."""

    made = []

    def make(kind="memory", **options):
        huey = make_aquila_huey(kind)
        publish_jobs(huey, **{"every": 0.01, "heartbeat": 0.2, **options})
        made.append(huey)
        return huey

    yield make
    for huey in made:
        settle(huey)


def settle(huey):
    """Wait until the background threads of a Huey end, which they do when they are idle."""
    for thread in (huey.publisher.store._thread, wake_ups_of(huey)._thread):
        if thread is not None:
            thread.join()


@contextlib.contextmanager
def consumer(huey, workers=1):
    """A consumer in this process, without the signal handlers that belong to pytest."""
    running = huey.create_consumer(workers=workers, initial_delay=0.005, max_delay=0.01, periodic=False)
    running._set_signal_handlers = lambda: None
    if isinstance(huey, PostgresHuey):
        huey.storage.blocking = False  # a blocking worker would leave its connection open
    running.start()
    try:
        yield running
    finally:
        running.stop(graceful=True)


@contextlib.contextmanager
def worker_program(source, tmp_path, *, name="app", worker_type="thread"):
    """Run ``huey_consumer`` as a program, for a module with ``source``. Yields its process.

    The program and its worker processes are killed at the end of the block.
    """
    (tmp_path / f"{name}.py").write_text(textwrap.dedent(source))
    options = ["-w", "2", "-d", "0.02", "-m", "0.05", "-k", worker_type]
    command = [sys.executable, *start_of(worker_type), f"{name}.huey", *options]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("AQUILA_")}
    environment["PYTHONPATH"] = str(tmp_path)
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with process_group(command, cwd=tmp_path, env=environment, **streams) as process:
        yield process


def start_of(worker_type):
    """Return the options of Python that start a consumer. gevent must patch all modules before anything else runs."""
    if worker_type == "greenlet":
        pytest.importorskip("gevent")
        start = "from huey.bin.huey_consumer import consumer_main; consumer_main()"
        return ["-c", f"from gevent import monkey; monkey.patch_all(); {start}"]
    return ["-m", "huey.bin.huey_consumer"]


class Provider(httpx2.BaseTransport):
    """Streams words. With the semaphore ``steps``, it acquires one before each chunk."""

    def __init__(self, text="one two three", steps=None):
        self._chunks = chat_chunks(text)
        self._steps = steps

    def handle_request(self, request):
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, stream=_Stream(self))

    def chunks(self):
        for chunk in self._chunks:
            if self._steps is not None:
                self._steps.acquire()
            yield chunk


class _Stream(httpx2.SyncByteStream):
    def __init__(self, provider):
        self._provider = provider

    def __iter__(self):
        yield from self._provider.chunks()


@pytest.fixture
def steps():
    """A semaphore that lets a provider send its next chunk. At the end, everything may be sent."""
    semaphore = threading.Semaphore(0)
    yield semaphore
    semaphore.release(10_000)
