"""cohere."""

import cohere

MODEL = "command-a-03-2025"
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


def said(prompt):
    return [{"role": "user", "content": prompt}]


def ask(prompt):
    return cohere.ClientV2().chat(model=MODEL, messages=said(prompt)).message.content[0].text


async def ask_async(prompt):
    answer = await cohere.AsyncClientV2().chat(model=MODEL, messages=said(prompt))
    return answer.message.content[0].text


def stream(prompt):
    client = cohere.ClientV2()
    for event in client.chat_stream(model=MODEL, messages=said(prompt)):
        if event.type == "content-delta":
            yield event.delta.message.content.text


async def stream_async(prompt):
    client = cohere.AsyncClientV2()
    async for event in client.chat_stream(model=MODEL, messages=said(prompt)):
        if event.type == "content-delta":
            yield event.delta.message.content.text


def tools(prompt):
    client = cohere.ClientV2()
    messages = said(prompt)
    first = client.chat(model=MODEL, messages=messages, tools=[TOOL]).message
    messages.append({"role": "assistant", "tool_calls": [call.model_dump() for call in first.tool_calls]})
    for call in first.tool_calls:
        messages.append({"role": "tool", "tool_call_id": call.id, "content": look_up(call.function.arguments)})
    return client.chat(model=MODEL, messages=messages, tools=[TOOL]).message.content[0].text
