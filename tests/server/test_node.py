"""The openai package of Node, as a client that is not Python's: whole answers, streams, and a miss."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.server.conftest import Serve
from tests.support.upstream import Answer, Upstream, streamed

PROGRAM = Path(__file__).with_name("client.mjs")
VERSION = "7.57.0"


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the program and the openai package. Skips, with the reason, where that cannot be had."""
    for command in ("node", "npm"):
        if shutil.which(command) is None:
            pytest.skip(f"{command} is not installed")
    folder = tmp_path_factory.mktemp("node")
    shutil.copy(PROGRAM, folder)
    install = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline", "--fetch-retries=0"]
    try:
        done = subprocess.run(
            [*install, f"openai@{VERSION}"], cwd=folder, capture_output=True, text=True, timeout=60, check=False
        )
    except subprocess.TimeoutExpired:
        pytest.skip("npm install of openai took longer than a minute")
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["unknown"])[0]
        pytest.skip(f"npm cannot install openai here: {reason}")
    return folder


def script(path: str, body: bytes) -> Answer:
    asked = json.loads(body)
    text = asked["messages"][0]["content"].upper() + " one two"
    if asked.get("stream"):
        return streamed(text)
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    answer = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
    return Answer(chunks=[json.dumps(answer).encode()])


@pytest.mark.slow
def test_it_records_replays_and_hears_why_it_missed(node: Path, serve: Serve, provider: Upstream) -> None:
    provider.script = script

    def ask(base_url: str, prompt: str) -> Any:
        surroundings = {**os.environ, "OPENAI_BASE_URL": base_url, "OPENAI_API_KEY": "aquila-no-key"}
        command = ["node", "client.mjs", prompt]
        done = subprocess.run(
            command, cwd=node, env=surroundings, capture_output=True, text=True, timeout=300, check=True
        )
        return json.loads(done.stdout)

    expected = {"whole": "HI one two", "pieces": ["HI ", "one ", "two"]}
    with serve(record="all") as running:
        assert ask(running.base_url, "hi") == expected
    with serve() as running:
        assert ask(running.base_url, "hi") == expected
        missed = ask(running.base_url, "ho")["error"]
    assert (missed["status"], missed["code"]) == (404, "cassette_miss")
    assert "messages[0].content: recorded 'hi', now 'ho'" in missed["message"]
    assert len(provider.requests) == 2
