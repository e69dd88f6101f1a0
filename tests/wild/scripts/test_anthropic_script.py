"""anthropic, answered by a script."""

import anthropic
import pytest
from heard import Heard, cases, check, in_pieces, run

ASKED = {"model": "claude-sonnet-5", "max_tokens": 99, "messages": [{"role": "user", "content": "Hi!"}]}
FINISHES = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
    "refusal": "refusal",
}
ERRORS = {
    400: ("BadRequestError", "invalid_request_error"),
    401: ("AuthenticationError", "authentication_error"),
    403: ("PermissionDeniedError", "permission_error"),
    404: ("NotFoundError", "not_found_error"),
    409: ("ConflictError", "invalid_request_error"),
    413: ("ContentTooLargeError", "request_too_large"),
    422: ("UnprocessableEntityError", "invalid_request_error"),
    429: ("RateLimitError", "rate_limit_error"),
    500: ("InternalServerError", "api_error"),
    503: ("ServiceUnavailableError", "api_error"),
    504: ("GatewayTimeoutError", "timeout_error"),
    529: ("OverloadedError", "overloaded_error"),
}


def heard_in(message):
    blocks = {
        kind: [block for block in message.content if block.type == kind] for kind in ("text", "thinking", "tool_use")
    }
    assert all(block.signature for block in blocks["thinking"])
    assert len({block.id for block in blocks["tool_use"]}) == len(blocks["tool_use"])
    return Heard(
        "".join(block.text for block in blocks["text"]),
        tuple((block.name, block.input) for block in blocks["tool_use"]),
        "".join(block.thinking for block in blocks["thinking"]),
        (message.stop_details.explanation or "") if message.stop_details else "",
        message.stop_reason,
        (message.usage.input_tokens, message.usage.output_tokens),
    )


def whole(**asked):
    with anthropic.Anthropic() as client:
        return heard_in(client.messages.create(**ASKED, **asked))


def streamed(**asked):
    """Put the events together by hand."""
    with anthropic.Anthropic() as client:
        return heard_in_events(list(client.messages.create(stream=True, **ASKED, **asked)))


def heard_in_events(events):
    assert [events[0].type, events[-2].type, events[-1].type] == ["message_start", "message_delta", "message_stop"]
    texts, thoughts, calls = [], [], []
    for event in events:
        if event.type == "content_block_start" and event.content_block.type == "tool_use":
            calls.append((event.content_block.name, []))
        elif event.type == "content_block_delta":
            delta = event.delta
            {
                "text_delta": lambda delta: texts.append(delta.text),
                "thinking_delta": lambda delta: thoughts.append(delta.thinking),
                "signature_delta": lambda delta: None,
                "input_json_delta": lambda delta: calls[-1][1].append(delta.partial_json),
            }[delta.type](delta)
    end = events[-2]
    return Heard(
        "".join(texts),
        tuple((name, in_pieces(pieces[1:])) for name, pieces in calls),
        "".join(thoughts),
        (end.delta.stop_details.explanation or "") if end.delta.stop_details else "",
        end.delta.stop_reason,
        (events[0].message.usage.input_tokens, end.usage.output_tokens),
    )


def helper(**asked):
    with anthropic.Anthropic() as client, client.messages.stream(**ASKED, **asked) as stream:
        return heard_in(stream.get_final_message())


def whole_async(**asked):
    async def ask():
        async with anthropic.AsyncAnthropic() as client:
            return await client.messages.create(**ASKED, **asked)

    return heard_in(run(ask()))


def streamed_async(**asked):
    async def ask():
        async with anthropic.AsyncAnthropic() as client:
            return [event async for event in await client.messages.create(stream=True, **ASKED, **asked)]

    return heard_in_events(run(ask()))


def helper_async(**asked):
    async def ask():
        async with anthropic.AsyncAnthropic() as client, client.messages.stream(**ASKED, **asked) as stream:
            return await stream.get_final_message()

    return heard_in(run(ask()))


def at_google(**asked):
    client = anthropic.AnthropicVertex(region="us-east5", project_id="a-project", access_token="none")
    return heard_in(client.messages.create(**ASKED, **asked))


def at_google_streamed(**asked):
    client = anthropic.AnthropicVertex(region="us-east5", project_id="a-project", access_token="none")
    return heard_in_events(list(client.messages.create(stream=True, **ASKED, **asked)))


AMAZON = {"aws_region": "us-east-1", "aws_access_key": "none", "aws_secret_key": "none"}
AT_AMAZON = {**ASKED, "model": "us.anthropic.claude-sonnet-5-v1:0"}


def at_amazon(**asked):
    return heard_in(anthropic.AnthropicBedrock(**AMAZON).messages.create(**AT_AMAZON, **asked))


def at_amazon_streamed(**asked):
    return heard_in_events(
        list(anthropic.AnthropicBedrock(**AMAZON).messages.create(stream=True, **AT_AMAZON, **asked))
    )


def at_amazon_streamed_async(**asked):
    async def ask():
        async with anthropic.AsyncAnthropicBedrock(**AMAZON) as client:
            return [event async for event in await client.messages.create(stream=True, **AT_AMAZON, **asked)]

    return heard_in_events(run(ask()))


def at_azure(**asked):
    with anthropic.AnthropicFoundry(api_key="none", resource="a-resource") as client:
        return heard_in(client.messages.create(**ASKED, **asked))


@cases(whole, streamed, helper, whole_async, streamed_async, helper_async, at_google, at_google_streamed, at_azure)
def test_answers(aquila_script, case, ask):
    check(aquila_script, case, ask, FINISHES)
    assert aquila_script.requests[0].model == ASKED["model"]


@cases(at_amazon, at_amazon_streamed, at_amazon_streamed_async)
def test_answers_at_amazon(aquila_script, case, ask):
    check(aquila_script, case, ask, FINISHES)
    assert aquila_script.requests[0].model == AT_AMAZON["model"]


@pytest.mark.parametrize("ask", [at_amazon, at_amazon_streamed])
@pytest.mark.parametrize("status", [400, 403, 429, 503])
def test_errors_at_amazon(aquila_script, status, ask):
    aquila_script.error(status, "Too bad", times=3 if status in (429, 503) else 1)
    with pytest.raises(getattr(anthropic, ERRORS[status][0]), match="Too bad"):
        ask()


@pytest.mark.parametrize("ask", [whole, streamed, helper, whole_async, streamed_async])
@pytest.mark.parametrize("status", ERRORS)
def test_errors(aquila_script, status, ask):
    aquila_script.error(status, "Too bad", times=3 if status in (408, 409, 429) or status >= 500 else 1)
    aquila_script.unused = "ignore"
    name, kind = ERRORS[status]
    with pytest.raises(anthropic.APIStatusError, match="Too bad") as caught:
        ask()
    error = caught.value
    assert type(error).__name__ == name
    assert (error.status_code, error.type, error.body["error"]["message"]) == (status, kind, "Too bad")
    assert error.request_id == error.body["request_id"]


@pytest.mark.parametrize("ask", [whole, streamed, helper, whole_async])
def test_a_client_tries_again_and_gets_the_next_answer(aquila_script, ask):
    aquila_script.error(529, retry_after=0.01).error(429, retry_after=0.01).reply("Now.")
    assert ask().text == "Now."
    assert len(aquila_script.requests) == 3


def test_a_conversation_with_tools_is_read(aquila_script):
    aquila_script.tool_calls(("weather", {"city": "Rome"}), ("time", {})).reply("18 °C.")
    tool = {"name": "weather", "description": "The weather.", "input_schema": {"type": "object"}}
    with anthropic.Anthropic() as client:
        asked = {**ASKED, "tools": [tool], "system": [{"type": "text", "text": "Be brief."}]}
        first = client.messages.create(**asked)
        results = [
            {"type": "tool_result", "tool_use_id": block.id, "content": [{"type": "text", "text": f"of {block.name}"}]}
            for block in first.content
        ]
        messages = [
            *ASKED["messages"],
            {"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in first.content]},
            {"role": "user", "content": [*results, {"type": "text", "text": "Well?"}]},
        ]
        assert client.messages.create(**{**asked, "messages": messages}).content[0].text == "18 °C."
    read = aquila_script.requests[1]
    assert [(each.role, each.text) for each in read.messages] == [
        ("system", "Be brief."),
        ("user", "Hi!"),
        ("assistant", ""),
        ("tool", "of weather"),
        ("tool", "of time"),
        ("user", "Well?"),
    ]
    called = read.messages[2].tool_calls
    assert [(call.name, call.arguments) for call in called] == [("weather", {"city": "Rome"}), ("time", {})]
    assert [each.tool_call_id for each in read.messages[3:5]] == [call.id for call in called]
    assert [(tool.name, tool.description) for tool in read.tools] == [("weather", "The weather.")]


def test_broken_arguments_are_what_the_helper_refuses(aquila_script):
    aquila_script.tool_call("weather", '{"city": Rome}')
    with pytest.raises(ValueError, match="Unable to parse tool parameter JSON"):
        helper()


def test_models_and_counts(aquila_script):
    aquila_script.models("claude-a", "claude-b").models("claude-a").models("claude-b").token_count(7)
    with anthropic.Anthropic() as client:
        assert [model.id for model in client.models.list()] == ["claude-a", "claude-b"]
        assert client.models.retrieve("claude-a").display_name == "claude-a"
        with pytest.raises(anthropic.NotFoundError, match="claude-a"):
            client.models.retrieve("claude-a")
        assert client.messages.count_tokens(model="claude-a", messages=ASKED["messages"]).input_tokens == 7


def test_models_and_counts_async(aquila_script):
    aquila_script.models("claude-a").token_count(7)

    async def ask():
        async with anthropic.AsyncAnthropic() as client:
            models = [model.id async for model in client.models.list()]
            return models, await client.messages.count_tokens(model="claude-a", messages=ASKED["messages"])

    models, count = run(ask())
    assert (models, count.input_tokens) == (["claude-a"], 7)
