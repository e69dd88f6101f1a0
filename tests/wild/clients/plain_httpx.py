"""httpx, as the client of one's own."""

import json
import os

import httpx

URL = "https://api.openai.com/v1/chat/completions"


def headers():
    return {"authorization": f"Bearer {os.environ['OPENAI_API_KEY']}"}


def body(prompt, **more):
    return {"model": "gpt-5-mini", "messages": [{"role": "user", "content": prompt}], **more}


def text_of(answer):
    return answer["choices"][0]["message"]["content"]


def word_of(line):
    """The text that a line of the stream brings."""
    data = line.removeprefix("data: ").strip()
    if not data or data == "[DONE]":
        return None
    return json.loads(data)["choices"][0]["delta"].get("content")


def ask(prompt):
    answer = httpx.post(URL, json=body(prompt), headers=headers())
    answer.raise_for_status()
    return text_of(answer.json())


async def ask_async(prompt):
    async with httpx.AsyncClient() as client:
        return text_of((await client.post(URL, json=body(prompt), headers=headers())).raise_for_status().json())


def stream(prompt):
    with httpx.stream("POST", URL, json=body(prompt, stream=True), headers=headers()) as answer:
        for line in answer.iter_lines():
            if word := word_of(line):
                yield word


async def stream_async(prompt):
    asked = body(prompt, stream=True)
    async with httpx.AsyncClient() as client, client.stream("POST", URL, json=asked, headers=headers()) as answer:
        async for line in answer.aiter_lines():
            if word := word_of(line):
                yield word
