"""The provider from which the examples of the guides are recorded. Its answers depend on the request.

To record again: ``pytest tests/engine/test_guides.py --aquila-record``.
"""

from __future__ import annotations

import json
from typing import Any

import httpx2

from tests.support.provider import (
    call_item,
    chat_chunk,
    chat_frame,
    chat_stream,
    message_item,
    one_call,
    response_object,
    responses_stream,
)
from tests.support.server import sse

EAGLES = ("Eagles ", "circle ", "in ", "rising ", "warm ", "air.")
WEATHER = '{"city": "Ulm", "days": 2}'


class Scripted(httpx2.BaseTransport, httpx2.AsyncBaseTransport):
    """The provider, as a transport for sync and async clients."""

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        return answer(request.method, request.url.path, request.read())

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        return answer(request.method, request.url.path, await request.aread())


def transport() -> Scripted:
    """Make the provider. ``AQUILA_UPSTREAM`` names this function."""
    return Scripted()


def answer(method: str, path: str, body: bytes) -> httpx2.Response:
    """Return what the provider answers."""
    if path.endswith("/audio/transcriptions"):
        return whole({"text": "Good morning."})
    if method == "DELETE":
        return whole({"id": path.rpartition("/")[2], "object": "response", "deleted": True})
    if path.endswith("/cancel"):
        return whole(response_object([], "cancelled", usage=None))
    if method == "GET":
        return whole(response_object([message_item("Eagles reach 4,000 metres.")]))
    asked = json.loads(body)
    if asked.get("background") and not asked.get("stream"):
        return whole(response_object([], "queued", usage=None))
    return streamed(path, asked)


def streamed(path: str, asked: dict[str, Any]) -> httpx2.Response:
    """A streamed answer of either endpoint."""
    said = last_words(asked)
    if path.endswith("/responses"):
        return events(responses_answer(asked, said))
    return events(chat_answer(asked, said))


def chat_answer(asked: dict[str, Any], said: str) -> bytes:
    results = [message["content"] for message in asked["messages"] if message["role"] == "tool"]
    if "weather" in said and not results:
        return one_call("weather", WEATHER)
    if "password" in said and not results:
        return one_call("lookup", '{"user": "me"}')
    if "Pay" in said and not results:
        return one_call("transfer", '{"amount": 9}')
    if results:
        return chat_stream("I ", "found: ", results[-1])
    if "name and population" in said:
        return chat_stream('{"name": "Ulm", ', '"people": 128000}')
    if "no such model" in str(asked["model"]):
        return sse({"error": {"message": "The model does not exist", "code": "model_not_found"}})
    if "think" in said:
        return sse(chat_chunk(reasoning_content="Rising air carries."), chat_chunk("They soar."), last(), usage())
    return chat_stream(*EAGLES)


def last() -> dict[str, Any]:
    return chat_chunk(finish="stop")


def usage() -> dict[str, Any]:
    return chat_frame([], usage={"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13})


def responses_answer(asked: dict[str, Any], said: str) -> bytes:
    if any(tool["type"].startswith("web_search") for tool in asked.get("tools") or ()):
        search = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"query": "eagles"}}
        return responses_stream("Eagles reach 4,000 metres.", items=[search])
    if "weather" in said and not any(item.get("type") == "function_call_output" for item in asked["input"]):
        return responses_stream(items=[call_item("weather", WEATHER)])
    return responses_stream(*EAGLES)


def last_words(asked: dict[str, Any]) -> str:
    """The text of the last user message, or ``""``."""
    rows = asked.get("messages") or asked["input"]
    users = [row["content"] for row in rows if row.get("role") == "user"]
    return users[-1] if users and isinstance(users[-1], str) else ""


def whole(value: Any) -> httpx2.Response:
    """An answer of one JSON value."""
    return httpx2.Response(200, json=value)


def events(body: bytes) -> httpx2.Response:
    """A stream whose every event is a chunk."""
    chunks = [event + b"\n\n" for event in body.split(b"\n\n") if event]
    return httpx2.Response(200, headers={"content-type": "text/event-stream"}, stream=_Chunks(chunks))


class _Chunks(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    def __init__(self, chunks: list[bytes]) -> None:
        self._chunks = chunks

    def __iter__(self) -> Any:
        return iter(self._chunks)

    async def __aiter__(self) -> Any:
        for chunk in self._chunks:
            yield chunk
