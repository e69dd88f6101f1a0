"""aiohttp: ``ws_connect``, against the Realtime API."""

import os

import aiohttp

URL = "wss://api.openai.com/v1/realtime"


async def talk(*prompts, model="gpt-realtime"):
    headers = {"Authorization": f"Bearer {os.environ.get('OPENAI_API_KEY', 'none')}"}
    seen = []
    async with aiohttp.ClientSession(headers=headers) as session:
        async with session.ws_connect(URL, params={"model": model}) as connection:
            for prompt in prompts:
                content = [{"type": "input_text", "text": prompt}]
                item = {"type": "message", "role": "user", "content": content}
                await connection.send_json({"type": "conversation.item.create", "item": item})
                await connection.send_json({"type": "response.create"})
                async for message in connection:
                    event = message.json()
                    seen.append(event.get("delta") or event["type"])
                    if event["type"] in ("response.done", "error"):
                        break
        seen.append(f"closed with {connection.close_code}: {connection.exception()}")
    return seen


async def text_async(prompt):
    return await talk(prompt, "And what else?")


async def error_async(prompt):
    return await talk(f"{prompt} Fail.", "And now?")


async def broken_async(prompt):
    return await talk(f"{prompt} Break off.")


async def closed_async(prompt):
    return await talk(f"{prompt} Close.")


async def refused_async(prompt):
    return await talk(prompt, model="refused")
