"""openai, answered by a script: chat completions, Responses, embeddings and models."""

import json

import openai
import pytest
from heard import Heard, cases, check, in_pieces, run

MODEL = "gpt-4.1"
MESSAGES = [{"role": "user", "content": "Hi!"}]
CHAT = {"model": MODEL, "messages": MESSAGES}
CHAT_STREAM = {**CHAT, "stream": True, "stream_options": {"include_usage": True}}
RESPONSE = {"model": MODEL, "input": "Hi!"}
CHAT_FINISHES = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
    "refusal": "stop",
}
RESPONSE_FINISHES = {
    "stop": "completed",
    "length": "max_output_tokens",
    "tool_calls": "completed",
    "content_filter": "content_filter",
    "refusal": "completed",
}
ERRORS = {
    400: "BadRequestError",
    401: "AuthenticationError",
    403: "PermissionDeniedError",
    404: "NotFoundError",
    409: "ConflictError",
    422: "UnprocessableEntityError",
    429: "RateLimitError",
    500: "InternalServerError",
    503: "InternalServerError",
}


def in_completion(completion):
    (choice,) = completion.choices
    message = choice.message
    return Heard(
        message.content or "",
        tuple((call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls or ()),
        getattr(message, "reasoning_content", None) or "",
        message.refusal or "",
        choice.finish_reason,
        (completion.usage.prompt_tokens, completion.usage.completion_tokens),
    )


def in_chunks(chunks):
    texts, thoughts, refusals, calls, finish = [], [], [], {}, None
    for choice in (choice for chunk in chunks for choice in chunk.choices):
        delta, finish = choice.delta, choice.finish_reason or finish
        texts.append(delta.content or "")
        thoughts.append(getattr(delta, "reasoning_content", None) or "")
        refusals.append(delta.refusal or "")
        for call in delta.tool_calls or ():
            if call.id:
                calls[call.index] = (call.function.name, [])
            if call.function.arguments:
                calls[call.index][1].append(call.function.arguments)
    usage = chunks[-1].usage
    return Heard(
        "".join(texts),
        tuple((name, in_pieces(pieces)) for name, pieces in calls.values()),
        "".join(thoughts),
        "".join(refusals),
        finish,
        (usage.prompt_tokens, usage.completion_tokens),
    )


def in_response(response):
    parts = [part for item in response.output if item.type == "message" for part in item.content]
    details = response.incomplete_details
    return Heard(
        "".join(part.text for part in parts if part.type == "output_text"),
        tuple((item.name, json.loads(item.arguments)) for item in response.output if item.type == "function_call"),
        "".join(part.text for item in response.output if item.type == "reasoning" for part in item.summary),
        "".join(part.refusal for part in parts if part.type == "refusal"),
        details.reason if details else response.status,
        (response.usage.input_tokens, response.usage.output_tokens),
    )


def in_events(events):
    """Put the deltas together by hand, and compare them with the response that ends the stream."""
    texts, thoughts, refusals, calls = [], [], [], {}
    for event in events:
        if event.type == "response.output_text.delta":
            texts.append(event.delta)
        elif event.type == "response.reasoning_summary_text.delta":
            thoughts.append(event.delta)
        elif event.type == "response.refusal.delta":
            refusals.append(event.delta)
        elif event.type == "response.output_item.added" and event.item.type == "function_call":
            calls[event.output_index] = (event.item.name, [])
        elif event.type == "response.function_call_arguments.delta":
            calls[event.output_index][1].append(event.delta)
    last = in_response(events[-1].response)
    called = tuple((name, in_pieces(pieces)) for name, pieces in calls.values())
    assert ("".join(texts), called, "".join(thoughts), "".join(refusals)) == (
        last.text,
        last.calls,
        last.reasoning,
        last.refusal,
    )
    return last


def chat():
    return in_completion(openai.OpenAI().chat.completions.create(**CHAT))


def chat_streamed():
    return in_chunks(list(openai.OpenAI().chat.completions.create(**CHAT_STREAM)))


def chat_async():
    return in_completion(run(asked("chat.completions", CHAT)))


def chat_streamed_async():
    return in_chunks(run(asked("chat.completions", CHAT_STREAM)))


def response():
    return in_response(openai.OpenAI().responses.create(**RESPONSE))


def response_streamed():
    return in_events(list(openai.OpenAI().responses.create(stream=True, **RESPONSE)))


def response_helper():
    with openai.OpenAI().responses.stream(**RESPONSE) as stream:
        events = list(stream)
        return (
            in_response(stream.get_final_response()) if events[-1].type == "response.completed" else in_events(events)
        )


def response_async():
    return in_response(run(asked("responses", RESPONSE)))


def response_streamed_async():
    return in_events(run(asked("responses", {**RESPONSE, "stream": True})))


async def asked(resource, options):
    """Return what an asynchronous client answers; of a stream its events."""
    async with openai.AsyncOpenAI() as client:
        holder = client
        for name in resource.split("."):
            holder = getattr(holder, name)
        given = await holder.create(**options)
        return [event async for event in given] if options.get("stream") else given


@cases(chat, chat_streamed, chat_async, chat_streamed_async)
def test_chat_completions(aquila_script, case, ask):
    check(aquila_script, case, ask, CHAT_FINISHES)


@cases(response, response_streamed, response_helper, response_async, response_streamed_async)
def test_responses(aquila_script, case, ask):
    check(aquila_script, case, ask, RESPONSE_FINISHES)


@pytest.mark.parametrize("ask", [chat, chat_streamed, chat_async, response, response_streamed, response_async])
@pytest.mark.parametrize("status", ERRORS)
def test_errors(aquila_script, status, ask):
    aquila_script.error(status, "Too bad", times=3 if status in (409, 429) or status >= 500 else 1)
    aquila_script.unused = "ignore"
    with pytest.raises(getattr(openai, ERRORS[status]), match="Too bad") as caught:
        ask()
    assert (caught.value.status_code, caught.value.body["message"]) == (status, "Too bad")
    assert caught.value.request_id


@pytest.mark.parametrize("ask", [chat, chat_streamed, chat_async, response, response_streamed])
def test_a_client_tries_again_and_gets_the_next_answer(aquila_script, ask):
    aquila_script.error(503, retry_after=0.01).error(429, retry_after=0.01).reply("Now.")
    assert ask().text == "Now."
    assert len(aquila_script.requests) == 3


def test_embeddings_and_models(aquila_script):
    aquila_script.embed([0.5, 1.0], [2.0]).models("gpt-a", "gpt-b").models("gpt-a")
    client = openai.OpenAI()
    given = client.embeddings.create(model="text-embedding-3-small", input=["x", "y", "z"])
    assert [each.embedding for each in given.data] == [[0.5, 1.0], [2.0], [2.0]]
    assert [model.id for model in client.models.list()] == ["gpt-a", "gpt-b"]
    with pytest.raises(openai.NotFoundError, match="gpt-b"):
        client.models.retrieve("gpt-b")


def test_embeddings_and_models_async(aquila_script):
    aquila_script.embed([0.5]).models("gpt-a")

    async def ask():
        async with openai.AsyncOpenAI() as client:
            given = await client.embeddings.create(model="text-embedding-3-small", input="x")
            return given.data[0].embedding, [model.id async for model in client.models.list()]

    assert run(ask()) == ([0.5], ["gpt-a"])


@pytest.mark.parametrize("streamed", [False, True])
def test_completions(aquila_script, streamed):
    aquila_script.tool_call("weather").reply("Rome, \u2028 of course.", usage=(7, 8), finish="length")
    aquila_script.unused = "ignore"
    options = {"stream": True, "stream_options": {"include_usage": True}} if streamed else {}
    given = openai.OpenAI().completions.create(model="gpt-3.5-turbo-instruct", prompt=["A", "B"], n=2, **options)
    chunks = list(given) if streamed else [given]
    texts, finishes = {}, {}
    for choice in (choice for chunk in chunks for choice in chunk.choices):
        texts[choice.index] = texts.get(choice.index, "") + choice.text
        finishes[choice.index] = choice.finish_reason
    assert texts == dict.fromkeys(range(4), "Rome, \u2028 of course.")
    assert set(finishes.values()) == {"length"}
    assert (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens) == (7, 8)
    assert [message.text for message in aquila_script.requests[0].messages] == ["A", "B"]


def test_a_stored_response_is_there_again(aquila_script):
    aquila_script.reply("Long thought.").reply("Forgotten.")
    client = openai.OpenAI()
    begun = client.responses.create(background=True, **RESPONSE)
    assert client.responses.retrieve(begun.id) == begun
    assert client.responses.cancel(begun.id).output_text == "Long thought."
    events = list(client.responses.retrieve(begun.id, stream=True))
    assert in_events(events).text == "Long thought."
    rest = list(client.responses.retrieve(begun.id, stream=True, starting_after=3))
    assert [event.sequence_number for event in rest] == list(range(4, len(events)))
    client.responses.create(store=False, **RESPONSE)
