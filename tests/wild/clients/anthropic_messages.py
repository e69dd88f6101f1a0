"""anthropic."""

import anthropic

OPTIONS = {"model": "claude-sonnet-4-5", "max_tokens": 100}
TOOL = {
    "name": "look_up",
    "description": "Looks an animal up",
    "input_schema": {"type": "object", "properties": {"animal": {"type": "string"}}, "required": ["animal"]},
}


def look_up(animal):
    return "it flies high"


def said(prompt):
    return [{"role": "user", "content": prompt}]


def ask(prompt):
    with anthropic.Anthropic() as client:
        return client.messages.create(messages=said(prompt), **OPTIONS).content[0].text


async def ask_async(prompt):
    async with anthropic.AsyncAnthropic() as client:
        return (await client.messages.create(messages=said(prompt), **OPTIONS)).content[0].text


def stream(prompt):
    with anthropic.Anthropic() as client, client.messages.stream(messages=said(prompt), **OPTIONS) as events:
        yield from events.text_stream


async def stream_async(prompt):
    async with (
        anthropic.AsyncAnthropic() as client,
        client.messages.stream(messages=said(prompt), **OPTIONS) as events,
    ):
        async for text in events.text_stream:
            yield text


def tools(prompt):
    with anthropic.Anthropic() as client:
        first = client.messages.create(messages=said(prompt), tools=[TOOL], **OPTIONS)
        results = [
            {"type": "tool_result", "tool_use_id": call.id, "content": look_up(call.input["animal"])}
            for call in first.content
        ]
        messages = [
            *said(prompt),
            {"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in first.content]},
            {"role": "user", "content": results},
        ]
        return client.messages.create(messages=messages, tools=[TOOL], **OPTIONS).content[0].text
