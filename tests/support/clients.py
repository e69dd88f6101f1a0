"""Clients of several libraries that send the same request."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

PATH = "/v1/chat/completions"

Ask = Callable[[str, str], list[bytes]]
"""Sends a prompt to the server at a URL, and returns the chunks of the response: ``ask(url, prompt)``."""


ASKING = """
import httpx2

def ask(url, prompt):
    with httpx2.Client() as client:
        return client.post(url + "/v1/chat/completions", json={"prompt": prompt}).text
"""
"""The module ``asking`` of a program that knows nothing of Aquila."""


def httpx_like(library: Any) -> dict[str, Ask]:
    """The sync and the async client of httpx2 or httpx."""

    def sync(url: str, prompt: str) -> list[bytes]:
        with (
            library.Client() as client,
            client.stream("POST", url + PATH, json=body(prompt)) as answer,
        ):
            return list(answer.iter_raw())

    async def stream(url: str, prompt: str) -> list[bytes]:
        async with (
            library.AsyncClient() as client,
            client.stream("POST", url + PATH, json=body(prompt)) as answer,
        ):
            return [chunk async for chunk in answer.aiter_raw()]

    return {"sync": sync, "async": lambda url, prompt: asyncio.run(stream(url, prompt))}


def body(prompt: str) -> dict[str, Any]:
    """The body of a chat completion request."""
    return {"model": "m", "stream": True, "messages": [{"role": "user", "content": prompt}]}


def words(chunks: list[bytes]) -> Iterator[str]:
    """The pieces of text in a chat completion's stream."""
    for line in b"".join(chunks).splitlines():
        if line.startswith(b"data: {"):
            for choice in json.loads(line[6:])["choices"]:
                text = choice["delta"].get("content")
                if text:
                    yield text
