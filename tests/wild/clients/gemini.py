"""google-genai."""

from google import genai

MODEL = "gemini-2.5-flash"


def look_up(animal: str) -> str:
    """Looks an animal up."""
    return "it flies high"


def ask(prompt):
    with genai.Client() as client:
        return client.models.generate_content(model=MODEL, contents=prompt).text


async def ask_async(prompt):
    async with genai.Client().aio as client:
        return (await client.models.generate_content(model=MODEL, contents=prompt)).text


def stream(prompt):
    with genai.Client() as client:
        for chunk in client.models.generate_content_stream(model=MODEL, contents=prompt):
            yield chunk.text


async def stream_async(prompt):
    async with genai.Client().aio as client:
        async for chunk in await client.models.generate_content_stream(model=MODEL, contents=prompt):
            yield chunk.text


def tools(prompt):
    with genai.Client() as client:
        return client.models.generate_content(model=MODEL, contents=prompt, config={"tools": [look_up]}).text
