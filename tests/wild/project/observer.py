"""Runs in the project of a client: uses its application, and reports what each test came to.

Loaded with ``-p observer``, before the application, so that it sees every sleep.
"""

import asyncio
import inspect
import json
import os
import threading
import time
from pathlib import Path

BRIEF = 0.1
"""Sleeps below this many seconds are none: a loop that polls, not a client that backs off."""

KEEPS_ALIVE = 20
"""Nor are those of so many seconds: between two pings of a WebSocket."""

_reports = []
_now = {}
"""What the test that runs now has heard, and how long it has slept."""


def use(way, function, prompt):
    """Use the application in one way, and note what it gave, piece by piece."""
    streaming, received = Path("streaming"), Path("received")
    received.unlink(missing_ok=True)
    if way in ("stream", "stream_async"):
        streaming.write_text(way, "utf-8")
    try:
        note(way, _heard(function(prompt), received))
    finally:
        streaming.unlink(missing_ok=True)


def note(way, heard):
    """Note what a test has heard."""
    _now["heard"] = heard


def _heard(answer, received):
    if inspect.isasyncgen(answer):
        return asyncio.run(_collected(answer, received))
    if inspect.isgenerator(answer):
        heard = []
        for piece in answer:
            heard.append(piece)
            received.touch()  # the provider waits for it
        return heard
    return asyncio.run(answer) if inspect.iscoroutine(answer) else answer


async def _collected(stream, received):
    heard = []
    async for piece in stream:
        heard.append(piece)
        received.touch()
    return heard


def pytest_runtest_logstart():
    _now.clear()
    _now.update(slept=[], heard=None)


def pytest_runtest_logreport(report):
    crash = getattr(report.longrepr, "reprcrash", None)
    name, _, way = report.nodeid.rpartition("::")[2].partition("[")
    row = {"test": name, "way": way.rstrip("]"), "when": report.when, "outcome": report.outcome}
    row["crash"] = crash.message if crash is not None else str(report.longrepr or "")
    _reports.append({**row, "text": report.longreprtext, **_now, "slept": list(_now["slept"])})


def pytest_unconfigure():
    Path(os.environ["WILD_REPORT"]).write_text(json.dumps(_reports), "utf-8")


def _watch_sleeps():
    """Note the sleeps of the thread of the tests and of its event loops, and cut them short."""
    sleep, call_later = time.sleep, asyncio.base_events.BaseEventLoop.call_later

    def shortened(delay):
        is_ours = threading.current_thread() is threading.main_thread() and "slept" in _now
        if not is_ours or delay < BRIEF or delay == KEEPS_ALIVE:
            return delay
        _now["slept"].append(delay)
        return 0

    def watched_sleep(delay):
        sleep(shortened(delay))

    def watched_call_later(self, delay, callback, *arguments, **options):
        if callback is asyncio.futures._set_result_unless_cancelled:  # which is asyncio.sleep
            delay = shortened(delay)
        return call_later(self, delay, callback, *arguments, **options)

    time.sleep = watched_sleep
    asyncio.base_events.BaseEventLoop.call_later = watched_call_later


_watch_sleeps()
