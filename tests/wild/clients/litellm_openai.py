"""litellm, which asks OpenAI through its client."""

import litellm

MODEL = "gpt-4o-mini"
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
    return litellm.completion(model=MODEL, messages=said(prompt)).choices[0].message.content


async def ask_async(prompt):
    return (await litellm.acompletion(model=MODEL, messages=said(prompt))).choices[0].message.content


def stream(prompt):
    for chunk in litellm.completion(model=MODEL, messages=said(prompt), stream=True):
        if chunk.choices[0].delta.content:
            yield chunk.choices[0].delta.content


async def stream_async(prompt):
    async for chunk in await litellm.acompletion(model=MODEL, messages=said(prompt), stream=True):
        if chunk.choices[0].delta.content:
            yield chunk.choices[0].delta.content


def tools(prompt):
    messages = said(prompt)
    first = litellm.completion(model=MODEL, messages=messages, tools=[TOOL]).choices[0].message
    messages.append(first.model_dump(exclude_none=True))
    for call in first.tool_calls:
        messages.append({"role": "tool", "tool_call_id": call.id, "content": look_up(call.function.arguments)})
    return litellm.completion(model=MODEL, messages=messages, tools=[TOOL]).choices[0].message.content
