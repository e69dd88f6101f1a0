"""Records the files of this folder again: ``python tests/recorded/make.py``, with the extras ``vcr`` and ``local``.

A server on this machine answers as each provider's documentation shows, and vcrpy records it under the provider's own
address. The files below ``local`` are answers of the small local model, recorded by Aquila itself.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
EVENTS, JSON, TEXT = "text/event-stream; charset=utf-8", "application/json", "text/plain; charset=utf-8"


def chat_chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {
        "id": "chatcmpl-own-1",
        "object": "chat.completion.chunk",
        "created": 1767225600,
        "model": "gpt-4.1-mini-2025-04-14",
        "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}],
        "usage": None,
    }


def chat_answer(message: dict[str, Any], finish: str = "stop") -> dict[str, Any]:
    return {
        "id": "chatcmpl-own-2",
        "object": "chat.completion",
        "created": 1767225600,
        "model": "gpt-4.1-mini-2025-04-14",
        "choices": [{"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}],
        "usage": {"prompt_tokens": 14, "completion_tokens": 9, "total_tokens": 23},
    }


def call(number: int, name: str, arguments: str) -> dict[str, Any]:
    return {"id": f"call_own{number}", "type": "function", "function": {"name": name, "arguments": arguments}}


def openai_stream(events: list[Any]) -> str:
    lines = [f"data: {json.dumps(event, ensure_ascii=False, separators=(',', ':'))}\n\n" for event in events]
    return "".join([*lines, "data: [DONE]\n\n"])


def named_stream(events: list[dict[str, Any]]) -> str:
    return "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)


CHAT_USAGE = {
    **chat_chunk({}),
    "choices": [],
    "usage": {"prompt_tokens": 9, "completion_tokens": 7, "total_tokens": 16},
}
CHAT_STREAM = openai_stream(
    [
        chat_chunk({"role": "assistant", "content": "", "refusal": None}),
        *(chat_chunk({"content": piece}) for piece in ("Eagles", " are", " birds", " – große", ' "raptors"', "\n🦅")),
        chat_chunk({}, "stop"),
        CHAT_USAGE,
    ]
)
CHAT_TOOL_STREAM = openai_stream(
    [
        chat_chunk({"role": "assistant", "content": None}),
        chat_chunk({"tool_calls": [{"index": 0, **call(1, "get_capital", "")}]}),
        *(
            chat_chunk({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]})
            for piece in ('{"', "country", '":"', "UK", '"}')
        ),
        chat_chunk({}, "tool_calls"),
        CHAT_USAGE,
    ]
)


def responses_stream() -> str:
    base = {"id": "resp_own1", "object": "response", "created_at": 1767225600, "model": "gpt-4.1-mini"}
    item = {"id": "msg_own1", "type": "message", "role": "assistant"}
    pieces = ["Eagles", " hunt", " by", " day", "."]
    part = {"type": "output_text", "text": "".join(pieces), "annotations": []}
    done = {**item, "status": "completed", "content": [part]}
    usage = {
        "input_tokens": 11,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 6,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 17,
    }
    place = {"item_id": "msg_own1", "output_index": 0, "content_index": 0}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": {**base, "status": "in_progress", "output": []}},
        {
            "type": "response.output_item.added",
            "output_index": 0,
            "item": {**item, "status": "in_progress", "content": []},
        },
        {"type": "response.content_part.added", **place, "part": {**part, "text": ""}},
        *({"type": "response.output_text.delta", **place, "delta": piece} for piece in pieces),
        {"type": "response.output_text.done", **place, "text": part["text"]},
        {"type": "response.content_part.done", **place, "part": part},
        {"type": "response.output_item.done", "output_index": 0, "item": done},
        {"type": "response.completed", "response": {**base, "status": "completed", "output": [done], "usage": usage}},
    ]
    return named_stream([{**event, "sequence_number": number} for number, event in enumerate(events)])


def anthropic_stream() -> str:
    message = {"id": "msg_own2", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5", "content": []}
    delta = {"type": "content_block_delta", "index": 0}
    return named_stream(
        [
            {"type": "message_start", "message": {**message, "usage": {"input_tokens": 10, "output_tokens": 1}}},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            {"type": "ping"},
            *(
                {**delta, "delta": {"type": "text_delta", "text": piece}}
                for piece in ("An eagle", " has", " two wings.")
            ),
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 8}},
            {"type": "message_stop"},
        ]
    )


def gemini_stream() -> str:
    def event(text: str, **more: Any) -> str:
        candidate = {"content": {"parts": [{"text": text}], "role": "model"}, "index": 0, **more}
        usage = {"promptTokenCount": 6, "candidatesTokenCount": 5, "totalTokenCount": 11}
        value = {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "gemini-2.5-flash"}
        return f"data: {json.dumps(value)}\r\n\r\n"

    return event("Eagles nest") + event(" on cliffs.", finishReason="STOP")


def ask(prompt: str, **more: Any) -> dict[str, Any]:
    return {"model": "gpt-4.1-mini", "messages": [{"role": "user", "content": prompt}], **more}


OPENAI, RESPONSES = "https://api.openai.com/v1/chat/completions", "https://api.openai.com/v1/responses"
NOT_FOUND = {
    "error": {"message": "The model 'gpt-0' does not exist", "type": "invalid_request_error", "code": "model_not_found"}
}
CALLS = [call(2, "get_capital", '{"country":"UK"}'), call(3, "get_weather", '{"city":"London"}')]

RECORDED: dict[str, list[tuple[str, Any, int, str, str]]] = {
    "openai_chat": [
        (OPENAI, ask("Tell me about eagles.", stream=True), 200, EVENTS, CHAT_STREAM),
        (OPENAI, ask("Ten words?"), 200, JSON, json.dumps(chat_answer({"content": "Ten words, then."}))),
    ],
    "openai_chat_tools": [
        (OPENAI, ask("Capital of the UK?", stream=True), 200, EVENTS, CHAT_TOOL_STREAM),
        (OPENAI, ask("And then?", stream=True), 200, EVENTS, CHAT_STREAM),
    ],
    "openai_chat_parallel_tools": [
        (
            OPENAI,
            ask("Both?"),
            200,
            JSON,
            json.dumps(chat_answer({"content": None, "tool_calls": CALLS}, "tool_calls")),
        ),
        (OPENAI, ask("Then?"), 200, JSON, json.dumps(chat_answer({"content": "London, and rain."}))),
    ],
    "openai_responses": [(RESPONSES, {"model": "gpt-4.1-mini", "input": "Eagles?"}, 200, EVENTS, responses_stream())],
    "openai_errors": [
        (OPENAI, ask("Hi", model="gpt-0"), 404, JSON, json.dumps(NOT_FOUND)),
        (OPENAI, ask("Hi there"), 200, TEXT, "nothing to see here"),
    ],
    "anthropic_messages": [
        ("https://api.anthropic.com/v1/messages", ask("Wings?", stream=True), 200, EVENTS, anthropic_stream())
    ],
    "gemini_generate": [
        (
            "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
            {"contents": [{"role": "user", "parts": [{"text": "Where do eagles nest?"}]}]},
            200,
            EVENTS,
            gemini_stream(),
        )
    ],
}


@contextmanager
def answering(answers: list[tuple[str, Any, int, str, str]]) -> Iterator[str]:
    """Serve the answers one after the other; give the address."""
    waiting = iter(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            _, _, status, content_type, text = next(waiting)
            self.send_response(status)
            self.send_header("content-type", content_type)
            self.send_header("content-length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def record_providers() -> None:
    import httpx
    import vcr

    for name, exchanges in RECORDED.items():
        path = HERE / "vcrpy" / "own" / f"{name}.yaml"
        path.unlink(missing_ok=True)
        recorder = vcr.VCR(record_mode="all", filter_headers=["user-agent", "host", "connection", "accept-encoding"])
        with answering(exchanges) as address, recorder.use_cassette(str(path)) as cassette, httpx.Client() as client:
            for _, body, *_ in exchanges:
                client.post(address, json=body)
            for request, (url, *_) in zip(cassette.requests, exchanges, strict=True):
                request.uri = url
            for response in cassette.responses:
                for header in ("Date", "Server", "date", "server"):
                    response["headers"].pop(header, None)


def record_local_model() -> None:
    import aquila

    for name, arguments in {"chat": {}, "responses": {"endpoint": "responses"}}.items():
        (HERE / "local" / f"{name}.yaml").unlink(missing_ok=True)
        with aquila.use_cassette(name, transport="record", upstream="local", cassette_dir=HERE / "local"):
            aquila.ask("Name one bird.", max_output_tokens=12, temperature=0, **arguments)  # type: ignore[arg-type]


if __name__ == "__main__":
    record_providers()
    record_local_model()
