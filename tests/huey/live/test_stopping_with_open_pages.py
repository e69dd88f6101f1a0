"""A server that must stop does not wait for the pages that browsers have open."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import textwrap

import httpx2
import pytest
import uvicorn

from aquila.huey.live.page import page_events
from aquila.huey.live.page.page_events import is_server_ending
from aquila.huey.live.subscription import reading_limiter
from aquila.huey.progress.storage_patience import Outage

APP = """
    from starlette.applications import Starlette
    from starlette.routing import Mount

    from aquila.huey import SqliteHuey
    from aquila.huey.live import app, publish_jobs

    huey = SqliteHuey("app", filename="queue.db")
    publish_jobs(huey)
    application = Starlette(routes=[Mount("/intern/jobs", app(huey))])
"""
SERVERS = {
    "aquila jobs": (["aquila", "jobs", "--huey", "stopping_app:huey", "--port", "0"], "/live"),
    "uvicorn": (["uvicorn", "stopping_app:application", "--port", "0", "--no-access-log"], "/intern/jobs/live"),
}
OUTAGE = Outage("a page", "It connects again.")
PATIENCE = 60  # Seconds: it would never end otherwise.
SIGNALS = {"SIGINT": signal.SIGINT, "SIGTERM": signal.SIGTERM}


@pytest.fixture
def stopping():
    """A server of uvicorn whose signals are handled, as in a program."""
    server = uvicorn.Server(uvicorn.Config("none:none"))
    with server.capture_signals():
        yield server


def test_a_server_that_has_got_its_signal_is_recognised(stopping):
    assert not is_server_ending()
    stopping.should_exit = True
    assert is_server_ending()


def test_a_stream_ends_with_its_server_although_nothing_happens(stopping, published):
    huey = published()

    async def read():
        messages = page_events.repeat_messages(huey, None, lambda: looks.append(1) or [("overview", "", None)], OUTAGE)
        async for _ in messages:
            stopping.should_exit = True

    looks = []
    asyncio.run(asyncio.wait_for(read(), PATIENCE))
    assert looks == [1]


def test_a_stream_that_waits_for_its_turn_to_look_does_not_look_when_its_server_ends(stopping, published):
    huey, looks = published(), []

    async def read():
        limiter, others = reading_limiter(), [object() for _ in range(int(reading_limiter().total_tokens))]
        for other in others:
            limiter.acquire_on_behalf_of_nowait(other)
        messages = page_events.repeat_messages(huey, None, lambda: looks.append(1) or [], OUTAGE)
        reading = asyncio.ensure_future(anext(messages, "ended"))
        while not limiter.statistics().tasks_waiting:
            await asyncio.sleep(0)
        stopping.should_exit = True
        for other in others:
            limiter.release_on_behalf_of(other)
        assert await reading == "ended"

    asyncio.run(asyncio.wait_for(read(), PATIENCE))
    assert looks == []


@pytest.mark.slow
@pytest.mark.parametrize("name", SIGNALS)
@pytest.mark.parametrize("server", SERVERS)
def test_a_server_with_an_open_page_ends_at_once_and_reports_no_error(server, name, tmp_path):
    tmp_path.joinpath("stopping_app.py").write_text(textwrap.dedent(APP))
    (module, *arguments), path = SERVERS[server]
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if not name.startswith("AQUILA_")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process, httpx2.Client(transport=httpx2.HTTPTransport(), timeout=PATIENCE) as client:
        try:
            printed = ""
            while (url := re.search(r"http://[\d.:]+", printed)) is None:
                printed += process.stdout.readline()
                assert process.poll() is None, printed
            with client.stream("GET", url[0] + path) as answer:
                pieces = answer.iter_text()
                while "event: overview" not in next(pieces):
                    pass
                process.send_signal(SIGNALS[name])
                for _ in pieces:  # To its end: the connection is not broken off.
                    pass
            printed += process.communicate(timeout=PATIENCE)[0]
        finally:
            process.kill()
    for word in ("Traceback", "ERROR", "Cancel", "WARNING"):
        assert word not in printed
