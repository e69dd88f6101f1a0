"""Clients whose requests Rust or Go sends, as their users have them. `make test-wild` runs it.

The tests are a project's own, in `tests/wild/compiled`, and ask a server on loopback that stands in for the provider.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.upstream import Answer, Upstream, upstream
from tests.wild.project_runs import SECRET, clean_environment

FILE = Path(__file__).parent / "compiled" / "test_asking.py"
WAYS = 19


def answer(path: str, body: bytes) -> Answer:
    whole = {"id": "1", "created": 1, "model": "gpt-4.1-mini"}
    message = {"role": "assistant", "content": "Hello, Ann."}
    if not json.loads(body).get("stream"):
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return Answer(chunks=[json.dumps({**whole, "object": "chat.completion", "choices": [choice]}).encode()])
    choice = {"index": 0, "delta": message, "finish_reason": "stop"}
    event = json.dumps({**whole, "object": "chat.completion.chunk", "choices": [choice]})
    chunks = [f"data: {data}\n\n".encode() for data in (event, "[DONE]")]
    return Answer(headers={"content-type": "text/event-stream"}, chunks=chunks)


@pytest.fixture
def provider() -> Iterator[Upstream]:
    with upstream(answer) as running:
        yield running


def run(folder: Path, base_url: str, *arguments: str) -> str:
    """Run the tests that ``arguments`` choose; fail if they do. Returns what pytest printed last."""
    shutil.copy(FILE, folder)
    host = base_url.removeprefix("http://").partition("/")[0]
    (folder / "pytest.ini").write_text(f"[pytest]\naquila_providers = {host}\n", "utf-8")
    environment = clean_environment() | {"OPENAI_BASE_URL": base_url, "OPENAI_API_KEY": SECRET, "HOME": str(folder)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "-p", "no:cacheprovider", *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment, text=True, capture_output=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.long(30)
def test_none_reaches_the_provider_and_each_does_in_a_live_test(tmp_path: Path, provider: Upstream) -> None:
    base_url = f"{provider.url}/v1"
    assert f"{WAYS} passed" in run(tmp_path, base_url, "-k", "refused")
    assert provider.requests == []
    assert f"{WAYS} passed" in run(tmp_path, base_url, "-k", "live")
    assert len(provider.requests) == WAYS


@pytest.mark.long(30)
def test_baml_is_recorded_and_replayed_by_a_server_in_its_test(tmp_path: Path, provider: Upstream) -> None:
    base_url = f"{provider.url}/v1"
    assert "3 recorded" in run(tmp_path, base_url, "-k", "recorded or would_wait", "--aquila-record")
    assert len(provider.requests) == 3
    assert "3 replayed" in run(tmp_path, base_url, "-k", "recorded")
    assert len(provider.requests) == 3
