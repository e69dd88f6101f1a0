"""ollama, with the models that it hosts."""

import ollama

MODEL = "gpt-oss:20b"
HOST = "https://ollama.com"


def look_up(animal: str) -> str:
    """Looks an animal up."""
    return "it flies high"


def said(prompt):
    return [{"role": "user", "content": prompt}]


def ask(prompt):
    return ollama.Client(HOST).chat(MODEL, said(prompt)).message.content


async def ask_async(prompt):
    return (await ollama.AsyncClient(HOST).chat(MODEL, said(prompt))).message.content


def stream(prompt):
    for part in ollama.Client(HOST).chat(MODEL, said(prompt), stream=True):
        if part.message.content:
            yield part.message.content


async def stream_async(prompt):
    async for part in await ollama.AsyncClient(HOST).chat(MODEL, said(prompt), stream=True):
        if part.message.content:
            yield part.message.content


def tools(prompt):
    client = ollama.Client(HOST)
    messages = said(prompt)
    first = client.chat(MODEL, messages, tools=[look_up]).message
    messages.append(first)
    for call in first.tool_calls:
        messages.append({"role": "tool", "tool_name": "look_up", "content": look_up(**call.function.arguments)})
    return client.chat(MODEL, messages, tools=[look_up]).message.content
