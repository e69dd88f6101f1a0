"""openai: embeddings. The vector stands for an answer."""

import openai

MODEL = "text-embedding-3-small"


def ask(prompt):
    with openai.OpenAI() as client:
        return str(client.embeddings.create(model=MODEL, input=prompt).data[0].embedding)


async def ask_async(prompt):
    async with openai.AsyncOpenAI() as client:
        return str((await client.embeddings.create(model=MODEL, input=prompt)).data[0].embedding)
