"""huggingface_hub's inference client."""

from huggingface_hub import AsyncInferenceClient, InferenceClient

MODEL = "HuggingFaceTB/SmolLM3-3B"
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
    with InferenceClient(MODEL) as client:
        return client.chat_completion(said(prompt)).choices[0].message.content


async def ask_async(prompt):
    async with AsyncInferenceClient(MODEL) as client:
        return (await client.chat_completion(said(prompt))).choices[0].message.content


def stream(prompt):
    with InferenceClient(MODEL) as client:
        for chunk in client.chat_completion(said(prompt), stream=True):
            if chunk.choices and chunk.choices[0].delta.content:
                yield chunk.choices[0].delta.content


async def stream_async(prompt):
    async with AsyncInferenceClient(MODEL) as client:
        async for chunk in await client.chat_completion(said(prompt), stream=True):
            if chunk.choices and chunk.choices[0].delta.content:
                yield chunk.choices[0].delta.content


def tools(prompt):
    client = InferenceClient(MODEL)
    messages = said(prompt)
    first = client.chat_completion(messages, tools=[TOOL]).choices[0].message
    call = first.tool_calls[0]
    function = {"name": call.function.name, "arguments": call.function.arguments}
    messages.append({"role": "assistant", "tool_calls": [{"id": call.id, "type": "function", "function": function}]})
    messages.append({"role": "tool", "tool_call_id": call.id, "content": look_up(call.function.arguments)})
    return client.chat_completion(messages, tools=[TOOL]).choices[0].message.content
