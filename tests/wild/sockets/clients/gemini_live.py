"""google-genai: Gemini Live."""

import hashlib

from google import genai
from google.genai import types

MODEL = "gemini-2.0-flash-live-001"
TOOL = {
    "function_declarations": [
        {
            "name": "look_up",
            "description": "Looks an animal up",
            "parameters": {"type": "OBJECT", "properties": {"animal": {"type": "STRING"}}},
        }
    ]
}


def content(prompt):
    return types.Content(role="user", parts=[types.Part(text=prompt)])


async def read(session, seen):
    async for message in session.receive():
        if message.tool_call:
            seen.append([call.name for call in message.tool_call.function_calls])
            results = [
                types.FunctionResponse(id=call.id, name=call.name, response={"result": "it flies high"})
                for call in message.tool_call.function_calls
            ]
            await session.send_tool_response(function_responses=results)
        if message.server_content and message.server_content.model_turn:
            seen += [part.text or part.inline_data.data.hex() for part in message.server_content.model_turn.parts]
    seen.append("the turn is over")


async def talk(*prompts, model=MODEL, **config):
    seen = []
    async with genai.Client().aio.live.connect(
        model=model, config={"response_modalities": ["TEXT"], **config}
    ) as session:
        for prompt in prompts:
            await session.send_client_content(turns=content(prompt), turn_complete=True)
            await read(session, seen)
    return seen


async def text_async(prompt):
    return await talk(prompt, "And what else?")


async def tools_async(prompt):
    return await talk(prompt, tools=[TOOL])


async def audio_async(prompt):
    sound = hashlib.shake_256(prompt.encode()).digest(9600)
    seen = []
    async with genai.Client().aio.live.connect(model=MODEL, config={"response_modalities": ["AUDIO"]}) as session:
        for start in range(0, len(sound), 960):
            blob = types.Blob(data=sound[start : start + 960], mime_type="audio/pcm;rate=16000")
            await session.send_realtime_input(audio=blob)
        await session.send_realtime_input(audio_stream_end=True)
        await read(session, seen)
    return seen


async def refused_async(prompt):
    return await talk(prompt, model="refused")


async def broken_async(prompt):
    return await talk(f"{prompt} Break off.")


async def closed_async(prompt):
    return await talk(f"{prompt} Close.")
