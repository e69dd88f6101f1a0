"""The real clients read a recorded stream, whose secrets were in pieces, to a text with placeholders."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import botocore.config
import openai
import pytest

import aquila
from tests.cassettes.test_amazon_frames import converse, invoke
from tests.support.runs import separate_run
from tests.support.upstream import Answer, Upstream, sse, upstream

SECRET = "Zq81-not-shaped-like-a-key-4711"
OTHER = "Zq82-nor-is-this-one-shaped-0815"
SAID = f"your keys are {SECRET}, {OTHER} and {SECRET}."
CLEAN = "your keys are [redacted], [redacted-2] and [redacted]."
PIECES = ["".join(batch) for batch in zip(*[iter(SAID)] * 3, strict=False)] + [SAID[len(SAID) // 3 * 3 :]]


def by_converse(url: str) -> str:
    reply = bedrock(url).converse_stream(
        modelId="some.model-v1", messages=[{"role": "user", "content": [{"text": "Which keys?"}]}]
    )
    return "".join(event["contentBlockDelta"]["delta"].get("text", "") for event in reply["stream"])


def by_invoke(url: str) -> str:
    reply = bedrock(url).invoke_model_with_response_stream(modelId="some.model-v1", body=b"{}")
    return "".join(json.loads(event["chunk"]["bytes"])["delta"]["text"] for event in reply["body"])


def bedrock(url: str) -> Any:
    return boto3.client(
        "bedrock-runtime",
        region_name="eu-west-1",
        endpoint_url=url,
        aws_access_key_id="AKIAIOSFODNN7EXAMPLE",
        aws_secret_access_key="not-a-real-secret-key",
        config=botocore.config.Config(retries={"max_attempts": 0}),
    )


def by_openai(url: str) -> str:
    client = openai.OpenAI(api_key="some-key-of-mine-4711", base_url=f"{url}/v1", max_retries=0)
    message: Any = {"role": "user", "content": "Which keys?"}
    stream = client.chat.completions.create(model="m", messages=[message], stream=True)
    return "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)


def stream_frames(path: str) -> list[bytes]:
    body = converse(PIECES) if "converse" in path else invoke(PIECES)
    return [body[at : at + 100] for at in range(0, len(body), 100)]


def answer(path: str, body: bytes) -> Answer:
    if path.startswith("/v1/"):
        events = [
            {
                "id": "c",
                "object": "chat.completion.chunk",
                "created": 1,
                "model": "m",
                "choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}],
            }
            for piece in PIECES
        ]
        return Answer(headers={"content-type": "text/event-stream"}, chunks=sse(*events))
    media = {"content-type": "application/vnd.amazon.eventstream"}
    return Answer(headers=media, chunks=stream_frames(path))


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Upstream]:
    monkeypatch.setenv("ONE_KEY", SECRET)
    monkeypatch.setenv("TWO_KEY", OTHER)
    with upstream(answer) as running, separate_run(tmp_path):
        yield running


@pytest.mark.parametrize("ask", [by_openai, by_converse, by_invoke])
def test_clients_read_a_text_with_placeholders(ask: Callable[[str], str], server: Upstream, tmp_path: Path) -> None:
    with aquila.use_cassette("x", transport="record"):
        assert ask(server.url) == SAID
    (cassette,) = (tmp_path / "cassettes").glob("x.*")
    assert not any(secret.encode() in cassette.read_bytes() for secret in (SECRET, OTHER))
    with aquila.use_cassette("x", transport="replay"):
        assert ask(server.url) == CLEAN
    assert len(server.requests) == 1
