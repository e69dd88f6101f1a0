"""semantic-kernel."""

from semantic_kernel.agents import ChatCompletionAgent
from semantic_kernel.connectors.ai.open_ai import OpenAIChatCompletion
from semantic_kernel.functions import kernel_function


class Animals:
    @kernel_function
    def look_up(self, animal: str) -> str:
        """Looks an animal up."""
        return "it flies high"


def agent(**options):
    return ChatCompletionAgent(service=OpenAIChatCompletion(ai_model_id="gpt-4o-mini"), name="Brief", **options)


async def ask_async(prompt):
    return str((await agent().get_response(prompt)).message.content)


async def stream_async(prompt):
    async for part in agent().invoke_stream(prompt):
        if str(part.message):
            yield str(part.message)


async def tools_async(prompt):
    return str((await agent(plugins=[Animals()]).get_response(prompt)).message.content)
