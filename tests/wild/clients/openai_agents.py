"""openai-agents."""

from agents import Agent, Runner, function_tool


@function_tool
def look_up(animal: str) -> str:
    """Looks an animal up."""
    return "it flies high"


def agent(*tools):
    return Agent(name="Ornithologist", model="gpt-5-mini", instructions="Be brief.", tools=list(tools))


def ask(prompt):
    return Runner.run_sync(agent(), prompt).final_output


async def ask_async(prompt):
    return (await Runner.run(agent(), prompt)).final_output


async def stream_async(prompt):
    async for event in Runner.run_streamed(agent(), prompt).stream_events():
        if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
            yield event.data.delta


def tools(prompt):
    return Runner.run_sync(agent(look_up), prompt).final_output
