"""openai: the Responses API."""

import openai

MODEL = "gpt-5-mini"
TOOL = {
    "type": "function",
    "name": "look_up",
    "description": "Looks an animal up",
    "parameters": {"type": "object", "properties": {"animal": {"type": "string"}}, "required": ["animal"]},
}


def look_up(animal):
    return "it flies high"


def ask(prompt):
    with openai.OpenAI() as client:
        return client.responses.create(model=MODEL, input=prompt).output_text


async def ask_async(prompt):
    async with openai.AsyncOpenAI() as client:
        return (await client.responses.create(model=MODEL, input=prompt)).output_text


def stream(prompt):
    with openai.OpenAI() as client, client.responses.stream(model=MODEL, input=prompt) as events:
        for event in events:
            if event.type == "response.output_text.delta":
                yield event.delta


async def stream_async(prompt):
    async with openai.AsyncOpenAI() as client, client.responses.stream(model=MODEL, input=prompt) as events:
        async for event in events:
            if event.type == "response.output_text.delta":
                yield event.delta


def tools(prompt):
    with openai.OpenAI() as client:
        first = client.responses.create(model=MODEL, input=prompt, tools=[TOOL])
        said = [{"role": "user", "content": prompt}]
        for call in first.output:
            said.append(call.model_dump(exclude_none=True))
            result = look_up(call.arguments)
            said.append({"type": "function_call_output", "call_id": call.call_id, "output": result})
        return client.responses.create(model=MODEL, input=said, tools=[TOOL]).output_text
