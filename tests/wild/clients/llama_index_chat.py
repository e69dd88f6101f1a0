"""llama-index-llms-openai."""

from llama_index.core.agent.workflow import FunctionAgent
from llama_index.llms.openai import OpenAI


def look_up(animal: str) -> str:
    """Looks an animal up."""
    return "it flies high"


def ask(prompt):
    return OpenAI("gpt-4o-mini").complete(prompt).text


async def ask_async(prompt):
    return (await OpenAI("gpt-4o-mini").acomplete(prompt)).text


def stream(prompt):
    for part in OpenAI("gpt-4o-mini").stream_complete(prompt):
        if part.delta:
            yield part.delta


async def stream_async(prompt):
    async for part in await OpenAI("gpt-4o-mini").astream_complete(prompt):
        if part.delta:
            yield part.delta


async def tools_async(prompt):
    return str(await FunctionAgent(tools=[look_up], llm=OpenAI("gpt-4o-mini")).run(prompt))
