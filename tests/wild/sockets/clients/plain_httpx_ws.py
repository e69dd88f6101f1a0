"""httpx-ws: in an event loop, against the Realtime API.

Not in threads: there it reads and writes over TLS at once, which breaks connections in Python 3.11, without Aquila too.
"""

import os

import httpx
from httpx_ws import aconnect_ws

URL = "https://api.openai.com/v1/realtime"


def headers():
    return {"Authorization": f"Bearer {os.environ.get('OPENAI_API_KEY', 'none')}"}


def turn(prompt):
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": prompt}]}
    return [{"type": "conversation.item.create", "item": item}, {"type": "response.create"}]


def told(seen, event):
    seen.append(event.get("delta") or event["type"])
    return event["type"] in ("response.done", "error")


async def talk_async(*prompts, model="gpt-realtime"):
    seen = []
    client = httpx.AsyncClient(headers=headers())
    async with client, aconnect_ws(URL, client, params={"model": model}) as connection:
        for prompt in prompts:
            for message in turn(prompt):
                await connection.send_json(message)
            while not told(seen, await connection.receive_json()):
                pass
    return seen


async def text_async(prompt):
    return await talk_async(prompt, "And what else?")


async def error_async(prompt):
    return await talk_async(f"{prompt} Fail.", "And now?")


async def broken_async(prompt):
    return await talk_async(f"{prompt} Break off.")


async def closed_async(prompt):
    return await talk_async(f"{prompt} Close.")


async def refused_async(prompt):
    return await talk_async(prompt, model="refused")
