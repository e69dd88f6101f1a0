"""The openai package of Node, as a client that is not Python's: whole answers, streams, and a miss."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.server.conftest import Serve
from tests.support.openai_web_sockets import OpenAIProvider
from tests.support.real_hosts import authority
from tests.support.upstream import Answer, Upstream, streamed
from tests.support.web_sockets import web_socket_server


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


@pytest.mark.slow
@pytest.mark.parametrize("way", ["tls", "plain"])
def test_its_realtime_client_is_recorded_replayed_and_told_what_differs(
    way: str, node: Path, serve: Serve, root: Path, tmp_path: Path
) -> None:
    certificate = tmp_path / "server.pem"
    issued = authority().issue_cert("localhost", "127.0.0.1")
    issued.private_key_and_cert_chain_pem.write_to_path(str(certificate))
    authority().cert_pem.write_to_path(str(tmp_path / "authority.pem"))

    def ask(base_url: str, *words: str) -> Any:
        surroundings = {**os.environ, "OPENAI_BASE_URL": base_url, "OPENAI_API_KEY": "aquila-no-key"}
        surroundings["NODE_EXTRA_CA_CERTS"] = str(tmp_path / "authority.pem")
        command = ["node", "realtime.mjs", *words]
        done = subprocess.run(
            command, cwd=node, env=surroundings, capture_output=True, text=True, timeout=300, check=True
        )
        return json.loads(done.stdout)

    tls = {"certificate": certificate} if way == "tls" else {}
    with web_socket_server(OpenAIProvider().speak) as provider:
        upstream = provider.url
        with serve(record="missing", upstream=upstream, **tls) as running:
            recorded = ask(running.base_url, "hello there", "good bye")
        assert len(provider.paths) == 1
    expected = {"texts": ["HELLO THERE", "GOOD BYE"], "audio": 6000, "items": 2, "close": [1000, "that is all"]}
    assert recorded == expected
    with serve(upstream=upstream, **tls) as running:
        assert ask(running.base_url, "hello there", "good bye") == expected
    with serve(upstream=upstream, **tls) as running:
        changed = ask(running.base_url, "hello there", "good night")
    assert changed["texts"] == ["HELLO THERE"]
    assert changed["error"]["code"] == "cassette_miss"
    assert "item.content[0].text: recorded 'good bye', now 'good night'" in changed["error"]["message"]
    code, reason = changed["close"]
    assert code == 1008
    assert reason.startswith("cassette_miss: item.content[0].text differs from message")
    with serve(upstream=upstream, cassette="another", **tls) as running:
        refused = ask(running.base_url, "hello there")
    assert refused["error"] == {"message": "Unexpected server response: 404"}
