"""openai: chat completions."""

import openai

MODEL = "gpt-5-mini"
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
    with openai.OpenAI() as client:
        return client.chat.completions.create(model=MODEL, messages=said(prompt)).choices[0].message.content


async def ask_async(prompt):
    async with openai.AsyncOpenAI() as client:
        answer = await client.chat.completions.create(model=MODEL, messages=said(prompt))
        return answer.choices[0].message.content


def stream(prompt):
    with openai.OpenAI() as client:
        for chunk in client.chat.completions.create(model=MODEL, messages=said(prompt), stream=True):
            if chunk.choices and chunk.choices[0].delta.content:
                yield chunk.choices[0].delta.content


async def stream_async(prompt):
    async with openai.AsyncOpenAI() as client:
        async for chunk in await client.chat.completions.create(model=MODEL, messages=said(prompt), stream=True):
            if chunk.choices and chunk.choices[0].delta.content:
                yield chunk.choices[0].delta.content


def tools(prompt):
    with openai.OpenAI() as client:
        messages = said(prompt)
        first = client.chat.completions.create(model=MODEL, messages=messages, tools=[TOOL]).choices[0].message
        messages.append(first.model_dump(exclude_none=True))
        for call in first.tool_calls:
            messages.append({"role": "tool", "tool_call_id": call.id, "content": look_up(call.function.arguments)})
        return client.chat.completions.create(model=MODEL, messages=messages, tools=[TOOL]).choices[0].message.content
