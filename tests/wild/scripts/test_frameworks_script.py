"""Frameworks that read and write the providers' forms in code of their own, answered by a script."""

import json

import litellm
import pytest
from heard import LONG, run
from pydantic_ai import Agent
from pydantic_ai.exceptions import ModelHTTPError

PROVIDERS = {
    "openai": ("openai/gpt-4.1", "openai-chat:gpt-4.1"),
    "anthropic": ("anthropic/claude-sonnet-4-5", "anthropic:claude-sonnet-4-5"),
    "gemini": ("gemini/gemini-2.5-flash", "google:gemini-2.5-flash"),
}
LITELLM = pytest.mark.parametrize("model", [model for model, _ in PROVIDERS.values()])
PYDANTIC = pytest.mark.parametrize("model", [model for _, model in PROVIDERS.values()])
STREAMED = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
PARAMETERS = {"type": "object", "properties": {"animal": {"type": "string"}}, "required": ["animal"]}
TOOL = {"type": "function", "function": {"name": "look_up", "description": "Looks up.", "parameters": PARAMETERS}}
CALLS = (("look_up", {"animal": "eagle"}), ("look_up", {"animal": "owl"}))


def tell(messages, model, streamed):
    """Return the message that litellm makes of an answer."""
    answer = litellm.completion(model=model, messages=messages, tools=[TOOL], stream=streamed)
    if streamed:
        answer = litellm.stream_chunk_builder(list(answer), messages=messages)
    return answer.choices[0].message


@LITELLM
@STREAMED
def test_a_conversation_by_litellm(aquila_script, model, streamed):
    aquila_script.reply("Let me look.", tool_calls=CALLS).reply("Both fly, \u2028 says 🌧.")
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi!"}]
    first = tell(messages, model, streamed)
    assert first.content == "Let me look."
    assert [(call.function.name, json.loads(call.function.arguments)) for call in first.tool_calls] == list(CALLS)
    messages.append(first.model_dump(exclude_none=True))
    for call in first.tool_calls:
        messages.append({"role": "tool", "tool_call_id": call.id, "content": f"of {call.function.arguments}"})
    assert tell(messages, model, streamed).content == "Both fly, \u2028 says 🌧."
    read = aquila_script.requests[1]
    assert [message.role for message in read.messages] == ["system", "user", "assistant", "tool", "tool"]
    assert [(call.name, call.arguments) for call in read.messages[2].tool_calls] == list(CALLS)
    assert ["eagle" in each.text or "owl" in each.text for each in read.messages[3:]] == [True, True]
    assert [tool.name for tool in read.tools] == ["look_up"]


@LITELLM
def test_an_asynchronous_stream_by_litellm(aquila_script, model):
    aquila_script.reply("one two three", usage=(12, 3))

    async def ask():
        chunks = await litellm.acompletion(model=model, messages=[{"role": "user", "content": "Hi!"}], stream=True)
        return [chunk.choices[0].delta.content or "" async for chunk in chunks]

    assert "".join(run(ask())) == "one two three"


@LITELLM
@pytest.mark.parametrize(
    ("status", "name"), [(400, "BadRequestError"), (401, "AuthenticationError"), (429, "RateLimitError")]
)
def test_an_error_by_litellm(aquila_script, model, status, name):
    aquila_script.error(status, "Too bad", times=3 if status == 429 else 1)
    aquila_script.unused = "ignore"
    with pytest.raises(getattr(litellm, name), match="Too bad"):
        litellm.completion(model=model, messages=[{"role": "user", "content": "Hi!"}])


def agent_of(model):
    agent = Agent(model, instructions="Be brief.")

    @agent.tool_plain
    def look_up(animal: str) -> str:
        """Look an animal up."""
        return f"the {animal} flies"

    return agent


@PYDANTIC
@STREAMED
def test_an_agent_of_pydantic(aquila_script, model, streamed):
    aquila_script.reasoning("Which?").tool_calls(*CALLS).reply("Both fly.", usage=(12, 3))

    async def stream():
        async with agent_of(model).run_stream("Hi!") as answer:
            return [text async for text in answer.stream_text(delta=True, debounce_by=None)]

    if streamed:
        assert "".join(run(stream())) == "Both fly."
    else:
        assert agent_of(model).run_sync("Hi!").output == "Both fly."
    texts = [message.text for message in aquila_script.requests[1].messages if message.role == "tool"]
    assert ["eagle flies" in texts[0], "owl flies" in texts[1]] == [True, True]


@PYDANTIC
def test_a_structured_answer_of_pydantic(aquila_script, model):
    aquila_script.tool_call("final_result", {"response": LONG})
    assert Agent(model, output_type=dict).run_sync("Hi!").output == LONG


@PYDANTIC
def test_an_error_of_pydantic(aquila_script, model):
    aquila_script.error(503, "Too bad", times=3)
    aquila_script.unused = "ignore"
    with pytest.raises(ModelHTTPError, match="Too bad"):
        Agent(model).run_sync("Hi!")
