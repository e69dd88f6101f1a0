"""Start a worker, the page of jobs and a few jobs, and wait until Ctrl-C. Run by ``make jobs-demo``.

Everything is in .demo/watching, and is thrown away by the next run. The answers come from the small model of this
machine: no key, no network.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
FOLDER = Path(".demo/watching").absolute()
PORT = os.environ.get("JOBS_PORT", "8378")
WORKERS = "3"

TOPICS = ("golden eagles", "the Alps in winter", "how glaciers move", "the history of paper", "lighthouses")
DOCUMENTS = (
    {"title": "Nesting", "body": "Golden eagles build their nests on cliffs and use them for many years."},
    {"title": "Flight", "body": "They circle in rising warm air and hardly beat their wings."},
)


@contextlib.contextmanager
def started(*command: str) -> Iterator[subprocess.Popen[str]]:
    """Run a command of this Python until the block ends."""
    paths = os.pathsep.join(filter(None, (str(HERE), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": paths, "WATCHING_FOLDER": str(FOLDER)}
    with (FOLDER / "log.txt").open("a") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *command], env=environment, stdout=subprocess.PIPE, stderr=log, text=True
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert process.stdout is not None
        process.stdout.close()


def enqueue_jobs() -> None:
    """Enqueue jobs that end in every way."""
    os.environ["WATCHING_FOLDER"] = str(FOLDER)
    sys.path.insert(0, str(HERE))
    import watched_tasks as tasks

    for document in DOCUMENTS:
        tasks.count_words(document)
        tasks.summarize(document)
    tasks.publish(DOCUMENTS[0])
    for topic in TOPICS:
        tasks.write_article(topic, words=160, api_key="sk-this-is-a-secret-0123456789")
    tasks.write_article("<b>tags & quotes</b> in a prompt", words=60)
    tasks.write_article.schedule(("tomorrow's weather",), delay=3600)
    tasks.huey.storage.close()


def main() -> int:
    """Run the demo. Returns the exit status."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # The worker and the page end with this process.
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    page = ("aquila", "jobs", "--huey", "watched_tasks:huey", "--port", PORT, "--actions")
    worker = ("huey.bin.huey_consumer", "watched_tasks.huey", "--workers", WORKERS, "--delay=0.1", "--max-delay=0.3")
    with contextlib.suppress(KeyboardInterrupt), started(*page) as shown, started(*worker):
        assert shown.stdout is not None
        lines = [shown.stdout.readline().strip() for _ in range(2)]
        if not all(lines):
            print((FOLDER / "log.txt").read_text(), file=sys.stderr)
            return 1
        enqueue_jobs()
        print(f"Open http://127.0.0.1:{PORT}/ in a browser.")
        print(f"To cancel, retry and pause there, sign in with the token: {lines[1].partition(': ')[2]}")
        print("Ctrl-C ends the worker and the page.", flush=True)
        signal.pause()
    return 0


if __name__ == "__main__":
    sys.exit(main())
