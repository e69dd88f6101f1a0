"""Makes any number of chat completions, streamed or not, in the form of a real provider's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aquila.cassettes.model import Cassette, Interaction, RecordedChunk, RecordedRequest, RecordedResponse

URL = "https://api.openai.com/v1/chat/completions"
TEXT = "the eagle turns above the valley and looks for warm air that carries it higher without a beat of its wings"
WORDS = TEXT.split()
OTHER_REQUEST_HEADERS = {
    "accept-encoding": "gzip, deflate, br, zstd",
    "connection": "keep-alive",
    "host": "api.openai.com",
    "user-agent": "OpenAI/Python 3.57.0",
    "x-stainless-arch": "x64",
    "x-stainless-async": "false",
    "x-stainless-lang": "python",
    "x-stainless-os": "Linux",
    "x-stainless-package-version": "3.57.0",
    "x-stainless-read-timeout": "600",
    "x-stainless-retry-count": "0",
    "x-stainless-runtime": "CPython",
    "x-stainless-runtime-version": "3.11.7",
}
OTHER_RESPONSE_HEADERS = {
    "access-control-expose-headers": "X-Request-ID",
    "alt-svc": 'h3=":443"; ma=86400',
    "cf-cache-status": "DYNAMIC",
    "cf-ray": "8f0000000000abcd-ZRH",
    "connection": "keep-alive",
    "date": "Tue, 24 Nov 2026 12:00:00 GMT",
    "openai-organization": "an-organization",
    "openai-project": "proj_000000000000000000000000",
    "server": "cloudflare",
    "strict-transport-security": "max-age=31536000; includeSubDomains; preload",
    "x-content-type-options": "nosniff",
    "x-ratelimit-limit-requests": "10000",
    "x-ratelimit-limit-tokens": "2000000",
    "x-ratelimit-remaining-requests": "9999",
    "x-ratelimit-remaining-tokens": "1999900",
    "x-ratelimit-reset-requests": "6ms",
    "x-ratelimit-reset-tokens": "0s",
}
"""Further headers of the openai SDK and its provider. The peers keep them in cassettes, Aquila does not."""

REQUEST_HEADERS = (("accept", "application/json"), ("content-type", "application/json"))


def prompt(number: int) -> list[dict[str, str]]:
    """The messages of the ``number``-th conversation."""
    return [
        {"role": "system", "content": "You are a patient guide to the birds of the mountains. Answer in one sentence."},
        {"role": "user", "content": f"Question {number}: how do eagles fly so far without growing tired?"},
    ]


def answer(number: int = 0) -> bytes:
    """A chat completion."""
    return json.dumps(
        {
            "id": f"chatcmpl-{number:024d}",
            "object": "chat.completion",
            "created": 1_764_000_000,
            "model": "gpt-4.1-mini-2025-04-14",
            "choices": [
                {
                    "index": 0,
                    "message": {
                        "role": "assistant",
                        "content": f"{number}: {TEXT}.",
                        "refusal": None,
                        "annotations": [],
                    },
                    "logprobs": None,
                    "finish_reason": "stop",
                }
            ],
            "usage": {"prompt_tokens": 37, "completion_tokens": 21, "total_tokens": 58},
            "service_tier": "default",
            "system_fingerprint": "fp_0123456789",
        },
        indent=2,
    ).encode()


def stream_events(count: int, number: int = 0) -> list[bytes]:
    """The server-sent events of a streamed chat completion with ``count`` pieces of text, ``[DONE]`` included."""
    common = {
        "id": f"chatcmpl-{number:024d}",
        "object": "chat.completion.chunk",
        "created": 1_764_000_000,
        "model": "gpt-4.1-mini-2025-04-14",
        "service_tier": "default",
        "system_fingerprint": "fp_0123456789",
    }
    deltas: list[tuple[dict[str, Any], str | None]] = [({"role": "assistant", "content": "", "refusal": None}, None)]
    deltas += [({"content": f"{WORDS[at % len(WORDS)]} "}, None) for at in range(count - 2)]
    deltas += [({}, "stop")]
    events = [
        {**common, "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}]}
        for delta, reason in deltas
    ]
    return [f"data: {json.dumps(event, separators=(',', ':'))}\n\n".encode() for event in events] + [
        b"data: [DONE]\n\n"
    ]


def body_of(number: int, *, stream: bool = False) -> dict[str, Any]:
    """The arguments of a chat completion call, in the order in which the SDK sends them as its body."""
    streamed = {"stream": True} if stream else {}
    return {"model": "gpt-4.1-mini", **streamed, "messages": prompt(number), "temperature": 0.2}


def request(number: int, *, stream: bool = False) -> RecordedRequest:
    """The request of the ``number``-th conversation."""
    body = json.dumps(body_of(number, stream=stream), separators=(",", ":"), ensure_ascii=False).encode()
    return RecordedRequest("POST", URL, REQUEST_HEADERS, body)


def interaction(number: int) -> Interaction:
    """The ``number``-th conversation."""
    headers = (("content-type", "application/json"), ("x-request-id", f"req_{number:08d}"))
    body = answer(number)
    response = RecordedResponse(200, headers, (RecordedChunk(body, 612),), started=611, ended=612)
    return Interaction(request(number), response, "2026-11-24T12:00:00Z")


def streamed(count: int, number: int = 0) -> Interaction:
    """A conversation whose answer is a stream of ``count`` pieces of text, each a chunk of its own."""
    chunks = tuple(RecordedChunk(event, 300 + 12 * at) for at, event in enumerate(stream_events(count, number)))
    response = RecordedResponse(
        200, (("content-type", "text/event-stream; charset=utf-8"),), chunks, started=299, ended=chunks[-1].at
    )
    return Interaction(request(number, stream=True), response, "2026-11-24T12:00:00Z")


def cassette(count: int) -> Cassette:
    """A cassette of ``count`` conversations, all different."""
    return Cassette.from_interactions(map(interaction, range(count)))


def write_as_vcrpy(path: Path, interactions: Sequence[Interaction]) -> None:
    """Write what vcrpy would have written for the same traffic."""
    import vcr.request
    from vcr.serialize import serialize
    from vcr.serializers import yamlserializer

    requests = [
        vcr.request.Request(
            one.request.method,
            one.request.url,
            one.request.body,
            {**OTHER_REQUEST_HEADERS, **dict(one.request.headers)},
        )
        for one in interactions
    ]
    responses = [
        {
            "status": {"code": one.response.status, "message": "OK"},
            "headers": {name: [value] for name, value in (*OTHER_RESPONSE_HEADERS.items(), *one.response.headers)},
            "body": {"string": one.response.body},
        }
        for one in interactions
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(serialize({"requests": requests, "responses": responses}, yamlserializer))


def write_as_cassetter(path: Path, interactions: Sequence[Interaction]) -> None:
    """Write what cassetter would have written for the same traffic; ``path`` ends in .yaml or .toml."""
    from cassetter._core import Cassette as TheirCassette
    from cassetter._core import HttpInteraction, HttpRequest, HttpResponse, process_body

    cassette = TheirCassette()
    for one in interactions:
        asked = {name: [value] for name, value in (*OTHER_REQUEST_HEADERS.items(), *one.request.headers)}
        answered = {name: [value] for name, value in (*OTHER_RESPONSE_HEADERS.items(), *one.response.headers)}
        cassette.add_interaction(
            HttpInteraction(
                HttpRequest(
                    one.request.method,
                    one.request.url,
                    asked,
                    process_body(one.request.body, one.request.first_header("content-type")),
                ),
                HttpResponse(
                    one.response.status,
                    answered,
                    process_body(one.response.body, one.response.first_header("content-type")),
                ),
                one.recorded,
            )
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    cassette.save(str(path))
