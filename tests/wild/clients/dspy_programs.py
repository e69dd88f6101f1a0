"""dspy."""

import dspy


def look_up(animal: str) -> str:
    """Looks an animal up."""
    return "it flies high"


def model():
    return dspy.LM("openai/gpt-4o-mini", cache=False)


def ask(prompt):
    return model()(prompt)[0]


async def ask_async(prompt):
    return (await model().acall(prompt))[0]
