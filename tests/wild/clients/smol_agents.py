"""smolagents."""

from smolagents import ChatMessage, OpenAIModel, ToolCallingAgent, tool


@tool
def look_up(animal: str) -> str:
    """Looks an animal up.

    Args:
        animal: its name
    """
    return "it flies high"


def model():
    return OpenAIModel(model_id="gpt-4o-mini")


def said(prompt):
    return [ChatMessage(role="user", content=[{"type": "text", "text": prompt}])]


def ask(prompt):
    return model().generate(said(prompt)).content


def stream(prompt):
    for delta in model().generate_stream(said(prompt)):
        if delta.content:
            yield delta.content


def tools(prompt):
    return ToolCallingAgent(tools=[look_up], model=model(), verbosity_level=0).run(prompt)
