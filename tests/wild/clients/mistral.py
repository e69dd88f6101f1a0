"""mistralai."""

import os

from mistralai.client import Mistral

MODEL = "mistral-small-latest"
TOOL = {
    "type": "function",
    "function": {
        "name": "look_up",
        "description": "Looks an animal up",
        "parameters": {"type": "object", "properties": {"animal": {"type": "string"}}, "required": ["animal"]},
    },
}


def look_up(animal):
    return "it flies high"


def client():
    return Mistral(api_key=os.environ["MISTRAL_API_KEY"])


def said(prompt):
    return [{"role": "user", "content": prompt}]


def ask(prompt):
    with client() as mistral:
        return mistral.chat.complete(model=MODEL, messages=said(prompt)).choices[0].message.content


async def ask_async(prompt):
    async with client() as mistral:
        return (await mistral.chat.complete_async(model=MODEL, messages=said(prompt))).choices[0].message.content


def stream(prompt):
    with client() as mistral, mistral.chat.stream(model=MODEL, messages=said(prompt)) as events:
        for event in events:
            if event.data.choices[0].delta.content:
                yield event.data.choices[0].delta.content


async def stream_async(prompt):
    async with client() as mistral:
        async for event in await mistral.chat.stream_async(model=MODEL, messages=said(prompt)):
            if event.data.choices[0].delta.content:
                yield event.data.choices[0].delta.content


def tools(prompt):
    with client() as mistral:
        messages = said(prompt)
        first = mistral.chat.complete(model=MODEL, messages=messages, tools=[TOOL]).choices[0].message
        messages.append(first)
        for call in first.tool_calls:
            result = look_up(call.function.arguments)
            messages.append({"role": "tool", "name": "look_up", "tool_call_id": call.id, "content": result})
        return mistral.chat.complete(model=MODEL, messages=messages, tools=[TOOL]).choices[0].message.content
