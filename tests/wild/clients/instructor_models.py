"""instructor."""

import instructor
from pydantic import BaseModel


class Animal(BaseModel):
    animal: str


def ask(prompt):
    client = instructor.from_provider("openai/gpt-4o-mini")
    return client.create(response_model=Animal, messages=[{"role": "user", "content": prompt}]).animal


async def ask_async(prompt):
    client = instructor.from_provider("openai/gpt-4o-mini", async_client=True)
    return (await client.create(response_model=Animal, messages=[{"role": "user", "content": prompt}])).animal


def stream(prompt):
    client = instructor.from_provider("openai/gpt-4o-mini")
    for animal in client.create_partial(response_model=Animal, messages=[{"role": "user", "content": prompt}]):
        yield animal.animal or ""


async def stream_async(prompt):
    client = instructor.from_provider("openai/gpt-4o-mini", async_client=True)
    async for animal in client.create_partial(response_model=Animal, messages=[{"role": "user", "content": prompt}]):
        yield animal.animal or ""
