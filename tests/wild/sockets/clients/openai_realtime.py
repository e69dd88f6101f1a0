"""openai: the Realtime API."""

import base64
import hashlib
import uuid

import openai

MODEL = "gpt-realtime"
TOOL = {
    "type": "function",
    "name": "look_up",
    "description": "Looks an animal up",
    "parameters": {"type": "object", "properties": {"animal": {"type": "string"}}, "required": ["animal"]},
}


def message(prompt, **fields):
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": prompt}], **fields}


def results_of(response):
    calls = [item for item in response.output if item.type == "function_call"]
    return [{"type": "function_call_output", "call_id": call.call_id, "output": "it flies high"} for call in calls]


def pieces_of_sound(prompt):
    sound = hashlib.shake_256(prompt.encode()).digest(9600)
    return [base64.b64encode(sound[start : start + 960]).decode() for start in range(0, len(sound), 960)]


def told(seen, event):
    """Note an event."""
    if event.type == "error":
        seen.append(f"error {event.error.code}: {event.error.message}")
    elif event.type.endswith((".output_text.delta", ".output_audio.delta")):
        seen.append(event.delta)
    else:
        seen.append(event.type)
    return event.type in ("response.done", "error")


# In threads


def connect(client, model=MODEL):
    return client.realtime.connect(model=model)


def read(connection, seen):
    for event in connection:
        if told(seen, event):
            return getattr(event, "response", None)
    seen.append("the end")
    return None


def talk(*prompts):
    seen = []
    with openai.OpenAI() as client, connect(client) as connection:
        connection.session.update(session={"type": "realtime", "output_modalities": ["text"]})
        for prompt in prompts:
            connection.conversation.item.create(item=message(prompt))
            connection.response.create()
            read(connection, seen)
    return seen


def text(prompt):
    return talk(prompt, "And what else?")


def own_ids(prompt):
    mine = f"item_{uuid.uuid4().hex[:20]}"
    with openai.OpenAI() as client, connect(client) as connection:
        connection.conversation.item.create(item=message(prompt, id=mine), event_id=f"event_{uuid.uuid4().hex}")
        for event in connection:
            if event.type == "conversation.item.added":
                return event.item.id == mine
    return False


def error(prompt):
    return talk(f"{prompt} Fail.", "And now?")


def broken(prompt):
    return talk(f"{prompt} Break off.")


def closed(prompt):
    return talk(f"{prompt} Close.")


def refused(prompt):
    with openai.OpenAI() as client, connect(client, "refused") as connection:
        read(connection, [])


def tools(prompt):
    seen = []
    with openai.OpenAI() as client, connect(client) as connection:
        connection.session.update(session={"type": "realtime", "tools": [TOOL]})
        connection.conversation.item.create(item=message(prompt))
        connection.response.create()
        for result in results_of(read(connection, seen)):
            connection.conversation.item.create(item=result)
        connection.response.create()
        read(connection, seen)
    return seen


def audio(prompt):
    seen = []
    with openai.OpenAI() as client, connect(client) as connection:
        for piece in pieces_of_sound(prompt):
            connection.input_audio_buffer.append(audio=piece)
        connection.input_audio_buffer.commit()
        connection.response.create()
        read(connection, seen)
    return seen


# In event loops


async def read_async(connection, seen):
    async for event in connection:
        if told(seen, event):
            return getattr(event, "response", None)
    seen.append("the end")
    return None


async def talk_async(*prompts):
    seen = []
    async with openai.AsyncOpenAI() as client, connect(client) as connection:
        await connection.session.update(session={"type": "realtime", "output_modalities": ["text"]})
        for prompt in prompts:
            await connection.conversation.item.create(item=message(prompt))
            await connection.response.create()
            await read_async(connection, seen)
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
    async with openai.AsyncOpenAI() as client, connect(client, "refused") as connection:
        await read_async(connection, [])


async def tools_async(prompt):
    seen = []
    async with openai.AsyncOpenAI() as client, connect(client) as connection:
        await connection.session.update(session={"type": "realtime", "tools": [TOOL]})
        await connection.conversation.item.create(item=message(prompt))
        await connection.response.create()
        for result in results_of(await read_async(connection, seen)):
            await connection.conversation.item.create(item=result)
        await connection.response.create()
        await read_async(connection, seen)
    return seen


async def audio_async(prompt):
    seen = []
    async with openai.AsyncOpenAI() as client, connect(client) as connection:
        for piece in pieces_of_sound(prompt):
            await connection.input_audio_buffer.append(audio=piece)
        await connection.input_audio_buffer.commit()
        await connection.response.create()
        await read_async(connection, seen)
    return seen
