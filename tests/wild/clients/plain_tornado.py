"""tornado."""

import asyncio
import json
import os

from tornado.httpclient import AsyncHTTPClient, HTTPRequest


def request(prompt, **more):
    body = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": prompt}], **more.pop("body", {})}
    return HTTPRequest(
        "https://api.openai.com/v1/chat/completions",
        method="POST",
        headers={"authorization": f"Bearer {os.environ['OPENAI_API_KEY']}", "content-type": "application/json"},
        body=json.dumps(body),
        **more,
    )


async def ask_async(prompt):
    answer = await AsyncHTTPClient().fetch(request(prompt))
    return json.loads(answer.body)["choices"][0]["message"]["content"]


async def stream_async(prompt):
    pieces = asyncio.Queue()
    asking = request(prompt, body={"stream": True}, streaming_callback=pieces.put_nowait)
    fetching = asyncio.ensure_future(AsyncHTTPClient().fetch(asking))
    fetching.add_done_callback(lambda _: pieces.put_nowait(None))
    rest = b""
    while (piece := await pieces.get()) is not None:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            if line.startswith(b"data: {") and (word := json.loads(line[6:])["choices"][0]["delta"].get("content")):
                yield word
    await fetching
