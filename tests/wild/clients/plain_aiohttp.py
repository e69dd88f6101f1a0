"""aiohttp."""

import json
import os

import aiohttp

URL = "https://api.openai.com/v1/chat/completions"


def headers():
    return {"authorization": f"Bearer {os.environ['OPENAI_API_KEY']}"}


def body(prompt, **more):
    return {"model": "gpt-5-mini", "messages": [{"role": "user", "content": prompt}], **more}


def word_of(line):
    """The text that a line of the stream brings."""
    data = line.removeprefix("data: ").strip()
    if not data or data == "[DONE]":
        return None
    return json.loads(data)["choices"][0]["delta"].get("content")


async def ask_async(prompt):
    async with (
        aiohttp.ClientSession(raise_for_status=True) as session,
        session.post(URL, json=body(prompt), headers=headers()) as answer,
    ):
        return (await answer.json())["choices"][0]["message"]["content"]


async def stream_async(prompt):
    async with (
        aiohttp.ClientSession(raise_for_status=True) as session,
        session.post(URL, json=body(prompt, stream=True), headers=headers()) as answer,
    ):
        async for line in answer.content:
            if word := word_of(line.decode()):
                yield word
