"""The application under test: it asks a model over HTTP."""

import os

import httpx2

URL = "https://api.openai.com/v1/chat/completions"


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
