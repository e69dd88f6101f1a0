"""openai: the Responses API over a WebSocket."""

import asyncio

import openai

MODEL = "gpt-5-mini"
TOOL = {
    "type": "function",
    "name": "look_up",
    "description": "Looks an animal up",
    "parameters": {"type": "object", "properties": {"animal": {"type": "string"}}, "required": ["animal"]},
}


def results_of(response):
    calls = [item for item in response.output if item.type == "function_call"]
    return [{"type": "function_call_output", "call_id": call.call_id, "output": "it flies high"} for call in calls]


def told(seen, event):
    """Note an event. Return the response with which an answer ends."""
    if event.type == "error":
        seen.append(f"error {event.error.code}: {event.error.message}")
        return event
    seen.append(event.delta if event.type == "response.output_text.delta" else event.type)
    return event.response if event.type == "response.completed" else None


# In threads


def read(connection, seen):
    for event in connection:
        response = told(seen, event)
        if response:
            return response
    seen.append("the end")
    return None


def talk(*prompts, **options):
    seen = []
    with openai.OpenAI() as client, client.responses.connect(**options) as connection:
        for prompt in prompts:
            connection.response.create(model=MODEL, input=prompt)
            read(connection, seen)
    return seen


def text(prompt):
    return talk(prompt, "And what else?")


def error(prompt):
    return talk(f"{prompt} Fail.", "And now?")


def again(prompt):
    seen = []

    def reconnecting(event):
        seen.append(f"reconnecting after {event.close_code}, attempt {event.attempt}")
        connection.response.create(model=MODEL, input=f"{prompt} Once more.")  # waits for the connection

    options = {"on_reconnecting": reconnecting, "initial_delay": 0.01}
    with openai.OpenAI() as client, client.responses.connect(**options) as connection:
        connection.response.create(model=MODEL, input=f"{prompt} Break off.")
        read(connection, seen)
    return seen


def broken(prompt):
    return talk(f"{prompt} Break off.")


def closed(prompt):
    return talk(f"{prompt} Close.")


def tools(prompt):
    seen = []
    with openai.OpenAI() as client, client.responses.connect() as connection:
        connection.response.create(model=MODEL, input=prompt, tools=[TOOL])
        first = read(connection, seen)
        connection.response.create(
            model=MODEL, input=results_of(first), previous_response_id=first.id, tools=[TOOL], store=True
        )
        seen.append(read(connection, seen).output_text)
    return seen


# In event loops


async def read_async(connection, seen):
    async for event in connection:
        response = told(seen, event)
        if response:
            return response
    seen.append("the end")
    return None


async def talk_async(*prompts):
    seen = []
    async with openai.AsyncOpenAI() as client, client.responses.connect() as connection:
        for prompt in prompts:
            await connection.response.create(model=MODEL, input=prompt)
            await read_async(connection, seen)
    return seen


async def text_async(prompt):
    return await talk_async(prompt, "And what else?")


async def error_async(prompt):
    return await talk_async(f"{prompt} Fail.", "And now?")


async def again_async(prompt):
    seen = []
    wanted = []

    def reconnecting(event):
        seen.append(f"reconnecting after {event.close_code}, attempt {event.attempt}")
        wanted.append(f"{prompt} Once more.")

    options = {"on_reconnecting": reconnecting, "initial_delay": 0.01}
    async with openai.AsyncOpenAI() as client, client.responses.connect(**options) as connection:
        await connection.response.create(model=MODEL, input=f"{prompt} Break off.")
        reader = asyncio.create_task(read_async(connection, seen))
        while not wanted:
            await asyncio.sleep(0.001)
        await connection.response.create(model=MODEL, input=wanted.pop())
        await reader
    return seen


async def broken_async(prompt):
    return await talk_async(f"{prompt} Break off.")


async def closed_async(prompt):
    return await talk_async(f"{prompt} Close.")


async def tools_async(prompt):
    seen = []
    async with openai.AsyncOpenAI() as client, client.responses.connect() as connection:
        await connection.response.create(model=MODEL, input=prompt, tools=[TOOL])
        first = await read_async(connection, seen)
        await connection.response.create(
            model=MODEL, input=results_of(first), previous_response_id=first.id, tools=[TOOL], store=True
        )
        seen.append((await read_async(connection, seen)).output_text)
    return seen
