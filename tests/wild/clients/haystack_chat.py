"""haystack-ai."""

from haystack.components.agents import Agent
from haystack.components.generators.chat import OpenAIChatGenerator
from haystack.dataclasses import ChatMessage
from haystack.tools import tool


def look_up(animal: str) -> str:
    """Looks an animal up."""
    return "it flies high"


def ask(prompt):
    return OpenAIChatGenerator(model="gpt-4o-mini").run([ChatMessage.from_user(prompt)])["replies"][0].text


async def ask_async(prompt):
    answer = await OpenAIChatGenerator(model="gpt-4o-mini").run_async([ChatMessage.from_user(prompt)])
    return answer["replies"][0].text


def tools(prompt):
    agent = Agent(chat_generator=OpenAIChatGenerator(model="gpt-4o-mini"), tools=[tool(look_up)])
    return agent.run([ChatMessage.from_user(prompt)])["messages"][-1].text
