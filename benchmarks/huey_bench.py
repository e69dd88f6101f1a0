"""The time that Aquila adds to background jobs.

``perform_job`` over a plain call, a consumer with and without Aquila, and the serializer beside pickle.
"""

from __future__ import annotations

import functools
import itertools
import logging
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import huey as plain
from huey.consumer import Consumer
from huey.registry import Message
from huey.serializer import Serializer
from huey.utils import Error

import aquila
from aquila import huey as mixed
from aquila.config import SettingsLayers
from aquila.errors import PickledMessages
from aquila.huey.live import publish_jobs
from aquila.huey.serializing.serializer import MsgpackSerializer
from aquila.huey.testing import drain_queue, perform_job, use_test_queue
from aquila.recording import runtime
from aquila.recording.under_test import under_test
from benchmarks import traffic
from benchmarks.harness import QUICK, Report, duration, main, paired, size

TASKS = 40 if QUICK else 400
"""The number of tasks without work in one round through a consumer."""

REPLAYED = 20 if QUICK else 100
"""The number of tasks with a replay in one round through a consumer. The client takes most of their 7 ms each."""

SECRET = "a secret for the benchmark"


def performing(report: Report) -> None:
    """Compare ``perform_job`` with a call of the function, with a storage in memory."""
    huey = plain.MemoryHuey("bench")

    @huey.task(retries=2)
    def task(document: dict[str, Any], shout: bool = False) -> dict[str, Any]:
        return {"id": document["id"], "summary": document["body"][:20]}

    def enqueue_and_drain() -> None:
        task(document, shout=True)
        drain_queue()

    document = {"id": 123, "body": "The harbour of Tern Bay will close for three weeks in March."}
    with aquila.use_cassette("bench"), use_test_queue(huey):
        times = paired(
            {
                "the function": lambda: task.call_local(document, shout=True),
                "perform_job": lambda: perform_job(task, document, shout=True),
                "enqueue and drain_queue": enqueue_and_drain,
            },
            number=100,
        )
    report.table("perform_job, and enqueue + drain_queue, over calling the function", times, base="the function")
    report.aim("what perform_job adds", times.difference("perform_job", "the function") * 1e6, at_most=200, unit="µs")
    more = times.difference("enqueue and drain_queue", "the function")
    report.aim("what enqueue and drain_queue add", more * 1e6, at_most=100, unit="µs")


def consuming(report: Report) -> None:
    """Measure the tasks per second through a real consumer, each with a replayed chat completion.

    Producer and workers share one process, and its interpreter lock is the bottleneck. So its CPU time limits the rate.
    """
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        root = Path(folder)
        stack.enter_context(runtime.Run(SettingsLayers(root=root, defaults={"transport": "replay"})))
        stack.enter_context(under_test())  # Otherwise workers ignore the cassette that a message names.
        with aquila.use_cassette("bench", transport="record", upstream="benchmarks.huey_bench:provider"):
            ask()
        storages: dict[str, Callable[[Any, str], Any]] = {
            "SQLite": lambda module, name: module.SqliteHuey(name, filename=str(root / f"{name}.db"), fsync=False)
        }
        url = stack.enter_context(redis())
        if url is None:
            report.note("No redis-server here: Redis is left out.")
        else:
            storages["Redis"] = lambda module, name: module.RedisHuey(name, url=url)
        for storage, make in storages.items():
            subjects = {name: make(module, f"bench{name[:4]}") for name, module in (("plain", plain), ("mixed", mixed))}
            tasks = {name: answering(huey) for name, huey in subjects.items()}
            times = paired(
                {name: functools.partial(through, subjects[name], tasks[name]) for name in subjects},
                rounds=15,
            )
            report.heading(f"{REPLAYED} tasks with a replay each, through a consumer on {storage}")
            speeds = {name: REPLAYED / times.median(name) for name in subjects}
            ratio = 1 / times.ratio("mixed", "plain")
            rows = [(f"Huey's {type(subjects['plain']).__name__}", f"{speeds['plain']:.0f}", "")]
            rows.append((f"Aquila's {type(subjects['mixed']).__name__}", f"{speeds['mixed']:.0f}", f"{ratio:.3f} x"))
            report.rows(("", "tasks a second", "of Huey's"), rows)
            report.aim(f"tasks a second on {storage}", ratio, at_least=0.9, unit="of Huey's own")
            for huey in subjects.values():
                huey.storage.close()


def idling(report: Report) -> None:
    """Measure the tasks per second without work, through four threads on Redis: what Aquila adds to each task."""
    with ExitStack() as stack:
        url = stack.enter_context(redis())
        if url is None:
            return  # `consuming` has printed a note.

        def make(module: Any, name: str, **options: Any) -> Any:
            return module.RedisHuey(name, url=url, read_timeout=0.02, **options)

        with warnings.catch_warnings(action="ignore", category=PickledMessages):
            instrumented = mixed.instrument(make(plain, "instrumented"))
        subjects = {
            "Huey's RedisHuey": make(plain, "plain"),
            "instrument(it)": instrumented,
            "Aquila's RedisHuey": make(mixed, "mixed"),
            "with keep_running": make(mixed, "keeping", keep_running=True),
            "with publish_jobs": make(mixed, "published"),
        }
        publish_jobs(subjects["with publish_jobs"])
        rounds = {name: IdleTasks(huey) for name, huey in subjects.items()}
        times = paired({name: each.run for name, each in rounds.items()}, rounds=61, number=1)
        report.heading(f"{TASKS} tasks that do nothing, through four threads on Redis")
        base = "Huey's RedisHuey"
        rows = []
        for name in subjects:
            speed, ratio = TASKS / times.median(name), 1 / times.ratio(name, base)
            rows.append((name, f"{speed:.0f}", f"{ratio:.3f} x", f"± {times.spread(name, base):.3f}"))
        report.rows(("", "tasks a second", "of Huey's", "quartiles"), rows)
        aims = {
            "instrument(it)": 0.95, "Aquila's RedisHuey": 0.95, "with keep_running": 0.85, "with publish_jobs": 0.4,
        }  # fmt: skip
        for name, least in aims.items():
            report.aim(
                f"no-op tasks a second, {name}", 1 / times.ratio(name, base), at_least=least, unit="of Huey's own"
            )
        for huey in subjects.values():
            huey.storage.close()


class IdleTasks:
    """Tasks of a Huey without work, except that the last one reports its end."""

    def __init__(self, huey: Any) -> None:
        self._huey = huey
        self._ran = itertools.count(1)
        self._last = threading.Event()

        @huey.task(name="idle")
        def idle(number: int) -> None:
            if next(self._ran) == TASKS:
                self._last.set()

        self._task = idle

    def run(self) -> None:
        """Enqueue the tasks, and run a consumer until the last has run."""
        self._ran = itertools.count(1)
        self._last.clear()
        for number in range(TASKS):
            self._task(number)
        consumer = Consumer(self._huey, workers=4, periodic=False, check_worker_health=False)
        consumer._set_signal_handlers = lambda: None
        consumer.start()
        self._last.wait()
        consumer.stop(graceful=True)


def provider() -> httpx2.MockTransport:
    """Return the upstream from which the cassette is recorded: a response of twenty pieces."""
    answer = traffic.streamed(20).response
    return httpx2.MockTransport(
        lambda request: httpx2.Response(
            200, headers=list(answer.headers), content=b"".join(c.data for c in answer.chunks)
        )
    )


def ask() -> str:
    """Ask as a task does."""
    return aquila.ask("Summarise: the harbour closes.", model="gpt-4.1-mini", temperature=0).text


def answering(huey: Any) -> Any:
    """Register a task that asks a model."""

    @huey.task(name="answer")
    def answer(number: int) -> str:
        return ask()

    return answer


def through(huey: Any, task: Any) -> None:
    """Enqueue tasks, and run a consumer until they are done."""
    with aquila.use_cassette("bench", repeat="last") as cassette:
        for number in range(REPLAYED):
            task(number)
        consumer = Consumer(
            huey, workers=2, periodic=False, initial_delay=0.001, max_delay=0.001, check_worker_health=False
        )
        consumer._set_signal_handlers = lambda: None
        consumer.start()
        while huey.pending_count():
            time.sleep(0.001)
        consumer.stop(graceful=True)
        if cassette.play_count != REPLAYED:
            raise RuntimeError(f"{cassette.play_count} of {REPLAYED} tasks got their answer: {_first_error(huey)}")
    huey.flush()


def _first_error(huey: Any) -> object:
    stored = map(huey.serializer.deserialize, huey.storage.result_items().values())
    return next((value for value in stored if isinstance(value, Error)), "no task has stored an error")


@contextmanager
def redis() -> Iterator[str | None]:
    """Run a Redis server. Yields its URL, or None if Redis is not installed."""
    program = shutil.which("redis-server")
    if program is None:
        yield None
        return
    import redis

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        try:
            client = redis.Redis(port=port)
            while True:
                try:
                    client.ping()
                    break
                except redis.ConnectionError:
                    if server.poll() is not None:
                        raise
                    time.sleep(0.01)
            client.close()
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            server.kill()


def serializing(report: Report) -> None:
    """The serializer beside pickle."""
    document = {"id": 123, "title": "Report", "tags": ["a", "b"], "body": "The harbour closes. " * 100, "done": False}
    answer = {"text": "word " * 400, "usage": {"input_tokens": 100, "output_tokens": 400}, "model": "m", "id": "x" * 40}
    values = {
        "a task with a document": Message(
            id="8e0f3a4c-2b1d-4f6e-9c0a-1b2c3d4e5f60", name="jobs.summarise", retries=2, retry_delay=10,
            args=(document,), kwargs={"shout": True},
        ),
        "a result": answer,
        "a thousand small rows": [{"n": number, "name": f"row {number}", "ok": True} for number in range(1000)],
    }  # fmt: skip
    serializers: dict[str, Any] = {
        "pickle": Serializer(),
        "msgpack": MsgpackSerializer(),
        "msgpack, signed": MsgpackSerializer(SECRET, queue="bench"),
    }
    for title, value in values.items():
        sizes = {name: len(serializer.serialize(value)) for name, serializer in serializers.items()}
        times = paired(
            {name: functools.partial(there_and_back, serializer, value) for name, serializer in serializers.items()},
            number=20 if "thousand" in title else 500,
        )
        report.heading(f"There and back: {title}")
        rows = [
            (name, duration(times.median(name)), f"{times.ratio(name, 'pickle'):.2f} x", size(sizes[name]))
            for name in serializers
        ]
        report.rows(("", "median", "of pickle", "size"), rows)


def there_and_back(serializer: Any, value: Any) -> None:
    """Serialize and deserialize."""
    serializer.deserialize(serializer.serialize(value))


def run(report: Report) -> None:
    """Run the comparisons."""
    logging.getLogger("huey").setLevel(logging.CRITICAL)
    performing(report)
    consuming(report)
    idling(report)
    serializing(report)


if __name__ == "__main__":
    main(run)
