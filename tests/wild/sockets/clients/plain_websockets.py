"""websockets: in an event loop, in a thread, and the legacy client, against the Realtime API."""

import json
import os
import warnings

import websockets.sync.client
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

URL = "wss://api.openai.com/v1/realtime?model=gpt-realtime"


def headers():
    return {"Authorization": f"Bearer {os.environ.get('OPENAI_API_KEY', 'none')}"}


def turn(prompt):
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": prompt}]}
    return [json.dumps({"type": "conversation.item.create", "item": item}), json.dumps({"type": "response.create"})]


def told(seen, message):
    event = json.loads(message)
    seen.append(event.get("delta") or event["type"])
    return event["type"] in ("response.done", "error")


def ending(connection):
    return f"closed with {connection.close_code}: {connection.close_reason}"


async def talk_async(*prompts, url=URL):
    seen = []
    async with connect(url, additional_headers=headers()) as connection:
        for prompt in prompts:
            for message in turn(prompt):
                await connection.send(message)
            async for message in connection:
                if told(seen, message):
                    break
    return [*seen, ending(connection)]


async def text_async(prompt):
    return await talk_async(prompt, "And what else?")


async def error_async(prompt):
    return await talk_async(f"{prompt} Fail.", "And now?")


async def broken_async(prompt):
    return await talk_async(f"{prompt} Break off.")


async def closed_async(prompt):
    return await talk_async(f"{prompt} Close.")


async def refused_async(prompt):
    return await talk_async(prompt, url=f"{URL}-refused")


async def again_async(prompt):
    seen = []
    async for connection in connect(URL, additional_headers=headers()):
        try:
            for message in turn(f"{prompt} {'Once more.' if seen else 'Break off.'}"):
                await connection.send(message)
            async for message in connection:
                if told(seen, message):
                    return seen
        except ConnectionClosed as error:
            seen.append(str(error))
    return seen


# In threads


def talk(*prompts, url=URL):
    seen = []
    with websockets.sync.client.connect(url, additional_headers=headers()) as connection:
        for prompt in prompts:
            for message in turn(prompt):
                connection.send(message)
            for message in connection:
                if told(seen, message):
                    break
    return seen


def text(prompt):
    return talk(prompt, "And what else?")


def broken(prompt):
    return talk(f"{prompt} Break off.")


def closed(prompt):
    return talk(f"{prompt} Close.")


def refused(prompt):
    return talk(prompt, url=f"{URL}-refused")


# The legacy client


async def talk_legacy(*prompts, url=URL):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated
        from websockets.legacy.client import connect as connect_legacy
    seen = []
    async with connect_legacy(url, extra_headers=headers()) as connection:
        for prompt in prompts:
            for message in turn(prompt):
                await connection.send(message)
            async for message in connection:
                if told(seen, message):
                    break
    return [*seen, ending(connection)]


async def legacy_text_async(prompt):
    return await talk_legacy(prompt, "And what else?")


async def legacy_broken_async(prompt):
    return await talk_legacy(f"{prompt} Break off.")


async def legacy_closed_async(prompt):
    return await talk_legacy(f"{prompt} Close.")


async def legacy_refused_async(prompt):
    return await talk_legacy(prompt, url=f"{URL}-refused")
