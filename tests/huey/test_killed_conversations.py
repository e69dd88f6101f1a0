"""A worker of Huey that is killed within a conversation: what was said before is kept, and replays."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import aquila
from aquila.cassettes.storage.cassette_files import load_cassette
from aquila.cassettes.web_socket_frames.frame import Frame, read_frames
from aquila.errors import TaskError
from aquila.huey.testing import run_consumer, use_test_queue
from tests.support.web_sockets import web_socket_server

APP = """
import os
from websockets.sync.client import connect
from aquila.huey import SqliteHuey

huey = SqliteHuey("app", filename=os.path.join(os.path.dirname(os.path.abspath(__file__)), "q.db"))

@huey.task()
def job(url, turns):
    with connect(url) as connection:
        told = []
        for number in range(turns):
            connection.send(f"question {number}")
            told.append(connection.recv())
        return told
"""


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    (tmp_path / "talking_app.py").write_text(APP)
    monkeypatch.syspath_prepend(str(tmp_path))
    import talking_app  # type: ignore[import-not-found]

    yield talking_app
    talking_app.huey.storage.close()
    sys.modules.pop("talking_app")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_what_a_killed_worker_was_told_is_stored_when_its_test_ends(app: Any, root: Path) -> None:
    reached = threading.Event()

    def speak(connection: Any) -> None:
        connection.recv(60)
        connection.send('{"type":"response.done","said":1}')
        connection.recv(60)
        reached.set()
        connection.recv(60)  # until the worker is gone

    with web_socket_server(speak) as provider, use_test_queue(app.huey, storage="own"):
        url = provider.url + "/v1/realtime"
        with aquila.use_cassette("x", transport="record"):
            app.job(url, 2)
            dies = pytest.raises(TaskError, match="ended with code")
            with dies, run_consumer(subprocess="talking_app.huey", timeout=240) as consumer:
                assert reached.wait(120)
                os.kill(consumer.process.pid, signal.SIGKILL)
                consumer.wait_for(lambda: False)
    (stored,) = load_cassette(root / "x.yaml").interactions
    frames = [each.data for each in read_frames(stored.response.chunks) if isinstance(each, Frame)]
    assert frames[:2] == [b"question 0", b'{"type":"response.done","said":1}']
    with use_test_queue(app.huey, storage="own"), aquila.use_cassette("x"):
        result = app.job(url, 1)
        with run_consumer(subprocess="talking_app.huey", timeout=240) as consumer:
            assert consumer.wait(result) == ['{"type":"response.done","said":1}']
