"""litellm: its gateway to the Realtime API, between a client of its own kind and the provider."""

import asyncio
import json

import litellm


class Caller:
    """The client of the gateway, as FastAPI hands one over. It says one thing after each end of an answer."""

    def __init__(self, *turns):
        self.headers = {}
        self.scope = {"type": "websocket", "headers": []}
        self.seen = []
        self._turns = list(turns)
        self._say = asyncio.Queue()

    async def accept(self):
        """Take the call."""

    async def send_text(self, text):
        event = json.loads(text)
        kind = event["type"]
        self.seen.append(event["delta"] if kind.endswith("output_text.delta") else kind)
        if kind in ("session.created", "response.done", "error"):
            for message in self._turns.pop(0) if self._turns else [None]:
                self._say.put_nowait(message)

    async def receive_text(self):
        message = await self._say.get()
        if message is None:
            raise RuntimeError('WebSocket is not connected. Need to call "accept" first.')
        return json.dumps(message)

    async def close(self, code=1000, reason=None):
        self.seen.append(f"closed with {code}: {reason}")
        self._say.put_nowait(None)


def turn(prompt):
    content = [{"type": "input_text", "text": prompt}]
    item = {"type": "message", "role": "user", "content": content}
    return [{"type": "conversation.item.create", "item": item}, {"type": "response.create"}]


async def talk(*prompts, model="openai/gpt-realtime"):
    caller = Caller(*[turn(prompt) for prompt in prompts])
    await litellm._arealtime(model=model, websocket=caller)
    return caller.seen


async def text_async(prompt):
    return await talk(prompt, "And what else?")


async def error_async(prompt):
    return await talk(f"{prompt} Fail.", "And now?")


async def broken_async(prompt):
    return await talk(f"{prompt} Break off.")


async def closed_async(prompt):
    return await talk(f"{prompt} Close.")


async def refused_async(prompt):
    return await talk(prompt, model="openai/refused")
