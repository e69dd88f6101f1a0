"""The application under test: it asks a model over HTTP, or over a WebSocket."""

import json
import os

import httpx2

URL = "https://api.openai.com/v1/chat/completions"
SOCKET = "wss://api.openai.com/v1/responses"


def _body(prompt):
    text = prompt + os.environ.get("WILD_DRIFT", "")
    return {"model": "gpt-5-mini", "messages": [{"role": "user", "content": text}]}


def ask(prompt):
    """Ask from sync code."""
    return httpx2.post(URL, json=_body(prompt), timeout=20).json()["choices"][0]["message"]["content"]


async def aask(prompt):
    """Ask from async code, of asyncio or trio."""
    async with httpx2.AsyncClient(timeout=20) as client:
        answer = await client.post(URL, json=_body(prompt))
        return answer.json()["choices"][0]["message"]["content"]


async def aask_over_socket(prompt):
    """Ask over a WebSocket, from an event loop of asyncio."""
    from websockets.asyncio.client import connect

    text = prompt + os.environ.get("WILD_DRIFT", "")
    async with connect(SOCKET) as connection:
        await connection.send(json.dumps({"type": "response.create", "input": text}))
        async for message in connection:
            event = json.loads(message)
            if event["type"] == "response.completed":
                return event["response"]["output"]
    raise AssertionError("the connection was closed before the end of the answer")
