"""niquests."""

import json
import os

import niquests

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


def ask(prompt):
    answer = niquests.post(URL, json=body(prompt), headers=headers())
    answer.raise_for_status()
    return answer.json()["choices"][0]["message"]["content"]


async def ask_async(prompt):
    async with niquests.AsyncSession() as session:
        answer = await session.post(URL, json=body(prompt), headers=headers())
        answer.raise_for_status()
        return answer.json()["choices"][0]["message"]["content"]


def stream(prompt):
    with niquests.post(URL, json=body(prompt, stream=True), headers=headers(), stream=True) as answer:
        for line in answer.iter_lines():
            if word := word_of(line.decode()):
                yield word


async def stream_async(prompt):
    async with niquests.AsyncSession() as session:
        answer = await session.post(URL, json=body(prompt, stream=True), headers=headers(), stream=True)
        async for line in await answer.iter_lines():
            if word := word_of(line.decode()):
                yield word
