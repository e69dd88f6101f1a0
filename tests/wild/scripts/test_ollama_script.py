"""ollama, answered by a script: chat, generate and embeddings, of a server of this machine."""

import ollama
import pytest
from heard import LONG, Heard, cases, check, run

MODEL = "qwen3"
MESSAGES = [{"role": "user", "content": "Hi!"}]
FINISHES = {"stop": "stop", "length": "length", "tool_calls": "stop", "content_filter": "stop", "refusal": "stop"}
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]


def in_message(parts):
    """Put together what the parts of an answer say. A whole answer is one part."""
    messages, last = [part.message for part in parts], parts[-1]
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
    calls = [call.function for message in messages for call in message.tool_calls or ()]
    return Heard(
        "".join(message.content or "" for message in messages),
        tuple((call.name, call.arguments) for call in calls),
        "".join(message.thinking or "" for message in messages),
        finish=last.done_reason,
        usage=(last.prompt_eval_count, last.eval_count),
    )


def chat():
    return in_message([ollama.Client().chat(MODEL, MESSAGES)])


def chat_streamed():
    return in_message(list(ollama.Client().chat(MODEL, MESSAGES, stream=True)))


def chat_async():
    return in_message([run(ollama.AsyncClient().chat(MODEL, MESSAGES))])


def chat_streamed_async():
    async def ask():
        return [part async for part in await ollama.AsyncClient().chat(MODEL, MESSAGES, stream=True)]

    return in_message(run(ask()))


@cases(chat, chat_streamed, chat_async, chat_streamed_async)
def test_chat(aquila_script, case, ask):
    check(aquila_script, case, as_text(ask), FINISHES)


def as_text(ask):
    """Ollama has no refusals: one is a text."""

    def heard():
        found = ask()
        return Heard(refusal=found.text, finish=found.finish) if found.text == "I will not." else found

    return heard


@pytest.mark.parametrize("streamed", [False, True])
def test_a_conversation_with_a_tool(aquila_script, streamed):
    aquila_script.reply("Let me look.", tool_calls=[("weather", LONG), ("weather", {})]).reply("Rain.")
    messages = [{"role": "system", "content": "Be brief."}, *MESSAGES]

    def ask():
        given = ollama.Client().chat(MODEL, messages, tools=TOOLS, stream=streamed)
        return list(given) if streamed else [given]

    parts = ask()
    messages += [part.message for part in parts]
    messages.append({"role": "tool", "content": "rain", "tool_name": "weather"})
    assert in_message(ask()).text == "Rain."
    sent = aquila_script.requests[1]
    assert [call.arguments for message in sent.messages for call in message.tool_calls] == [LONG, {}]
    assert (sent.messages[0].role, sent.messages[-1].role, sent.messages[-1].text) == ("system", "tool", "rain")
    assert (sent.model, sent.tools[0].name, sent.is_streamed) == (MODEL, "weather", streamed)


@pytest.mark.parametrize("streamed", [False, True])
def test_generate_gets_only_what_calls_no_tool(aquila_script, streamed):
    aquila_script.tool_call("weather").reasoning("Hmm.").reply("Rome,\u2028 of course.", usage=(7, 8))
    given = ollama.Client().generate(MODEL, "Which city?", system="Be brief.", stream=streamed)
    parts = list(given) if streamed else [given]
    assert "".join(part.response for part in parts) == "Rome,\u2028 of course."
    assert "".join(part.thinking or "" for part in parts) == "Hmm."
    assert (parts[-1].prompt_eval_count, parts[-1].eval_count, parts[-1].done_reason) == (7, 8, "stop")
    assert [message.text for message in aquila_script.requests[0].messages] == ["Be brief.", "Which city?"]
    aquila_script.unused = "ignore"


def test_embeddings(aquila_script):
    aquila_script.embed([0.5, 1.0], [2.0])
    assert ollama.Client().embed(MODEL, ["a", "b", "c"]).embeddings == [[0.5, 1.0], [2.0], [2.0]]
    assert [message.text for message in aquila_script.requests[0].messages] == ["a", "b", "c"]


@pytest.mark.parametrize("ask", [chat, chat_streamed, chat_async, chat_streamed_async])
@pytest.mark.parametrize("status", [400, 404, 429, 500, 503])
def test_errors(aquila_script, ask, status):
    aquila_script.error(status, "Too bad").error(status)
    for message in ("Too bad", "."):
        with pytest.raises(ollama.ResponseError, match=message) as caught:
            ask()
        assert caught.value.status_code == status
