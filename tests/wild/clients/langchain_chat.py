"""langchain-openai, with langgraph for tools."""

from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.prebuilt import create_react_agent


def chat():
    return ChatOpenAI(model="gpt-4o-mini")


@tool
def look_up(animal: str) -> str:
    """Looks an animal up."""
    return "it flies high"


def ask(prompt):
    return chat().invoke(prompt).content


async def ask_async(prompt):
    return (await chat().ainvoke(prompt)).content


def stream(prompt):
    for chunk in chat().stream(prompt):
        if chunk.content:
            yield chunk.content


async def stream_async(prompt):
    async for chunk in chat().astream(prompt):
        if chunk.content:
            yield chunk.content


def tools(prompt):
    graph = create_react_agent(chat(), [look_up])
    return graph.invoke({"messages": [{"role": "user", "content": prompt}]})["messages"][-1].content
