"""The demo of the page of jobs starts what it says, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMMAND = "examples/watching/demo.py"


def free_port() -> int:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as server:
        port: int = server.getsockname()[1]
    return port


def test_make_starts_this_demo() -> None:
    assert f"\njobs-demo: environment\n\t@$(bin)/python {COMMAND}\n" in (ROOT / "Makefile").read_text()


@pytest.mark.slow
@pytest.mark.local_model
@pytest.mark.skipif(not hasattr(signal, "pause"), reason="needs POSIX signals")
def test_the_demo_shows_its_jobs_until_ctrl_c_and_leaves_nothing_running(tmp_path: Path) -> None:
    port = free_port()
    demo = subprocess.Popen(
        [sys.executable, str(ROOT / COMMAND)],
        cwd=tmp_path,
        env={**os.environ, "JOBS_PORT": str(port)},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert demo.stdout is not None
        first, token, _ = (demo.stdout.readline() for _ in range(3))
        address = first.split()[1]
        assert address == f"http://127.0.0.1:{port}/"
        assert re.search(r": aquila-token-\w{16,}$", token.strip())
        with urllib.request.urlopen(address, timeout=60) as answer:
            page = answer.read().decode()
        assert all(f">{task}<" in page for task in ("write_article", "summarize", "publish"))
        demo.send_signal(signal.SIGINT)
        assert demo.wait(timeout=120) == 0
        with pytest.raises(ProcessLookupError):
            os.killpg(demo.pid, 0)  # whatever it started is in its group
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(demo.pid, signal.SIGKILL)
        demo.communicate()
