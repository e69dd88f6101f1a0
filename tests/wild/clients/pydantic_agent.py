"""pydantic-ai."""

from pydantic_ai import Agent


def agent():
    return Agent("openai:gpt-5-mini", instructions="Be brief.")


def ask(prompt):
    return agent().run_sync(prompt).output


async def ask_async(prompt):
    return (await agent().run(prompt)).output


def stream(prompt):
    yield from agent().run_stream_sync(prompt).stream_text(delta=True, debounce_by=None)


async def stream_async(prompt):
    async with agent().run_stream(prompt) as answer:
        async for text in answer.stream_text(delta=True, debounce_by=None):
            yield text


def tools(prompt):
    animals = agent()

    @animals.tool_plain
    def look_up(animal: str) -> str:
        """Looks an animal up."""
        return "it flies high"

    return animals.run_sync(prompt).output
