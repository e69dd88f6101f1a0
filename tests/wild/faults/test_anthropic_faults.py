"""anthropic, whose answers have faults."""

import json

import anthropic
import pytest
from spoilt import IMPOSSIBLE, SAME, TEXT, Heard, check, faults, run, waits_of

ASKED = {"model": "claude-sonnet-5", "max_tokens": 99, "messages": [{"role": "user", "content": "Hi!"}]}
EXPECTED = {
    "connection_refused": "anthropic.APIConnectionError",
    "connection_reset": "anthropic.APIConnectionError",
    "timeout": "anthropic.APITimeoutError",
    "bad_request": "anthropic.BadRequestError",
    "unauthorized": "anthropic.AuthenticationError",
    "forbidden": "anthropic.PermissionDeniedError",
    "not_found": "anthropic.NotFoundError",
    "request_timeout": "anthropic.RequestTimeoutError",
    "unprocessable": "anthropic.UnprocessableEntityError",
    "rate_limit": "anthropic.RateLimitError",
    "server_error": "anthropic.InternalServerError",
    "overloaded": "anthropic.OverloadedError",
    "html_page": "anthropic.InternalServerError",
    "cut_stream": {"whole": "anthropic.APIConnectionError", "streamed": "httpx2.RemoteProtocolError after 'one two '"},
    "end_early": {"whole": "json.JSONDecodeError", "streamed": "text 'one two '; finish None"},
    "stall": {"whole": "anthropic.APITimeoutError", "streamed": "httpx2.ReadTimeout after 'one two '"},
    "slow": SAME,
    "one_byte": SAME,
    "one_piece": SAME,
    "abnormal_close": IMPOSSIBLE,  # a fault of WebSockets
    "split_events": {"whole": IMPOSSIBLE, "streamed": SAME},
    "other_chunks": SAME,
    "duplicated_event": {"whole": IMPOSSIBLE, "streamed": "text 'one two three three four'"},
    "dropped_event": {"whole": IMPOSSIBLE, "streamed": "text 'one two four'"},
    "reordered_events": {"whole": IMPOSSIBLE, "streamed": "text 'one two fourthree '"},
    "garbage": {"whole": "json.JSONDecodeError", "streamed": "json.JSONDecodeError after 'one two '"},
    "truncated_json": {"whole": "json.JSONDecodeError", "streamed": "json.JSONDecodeError after 'one two '"},
    "invalid_utf8": {
        "whole": "builtins.UnicodeDecodeError",
        "streamed": "builtins.UnicodeDecodeError after 'one two '",
    },
    "finish_length": "finish 'max_tokens'",
    "content_filter": "finish 'refusal'",
    "refusal": "text ''; refusal \"I'm sorry, but I can't help with that.\"; finish 'refusal'",
    "empty_answer": "text ''",
    "broken_arguments": {
        "whole": IMPOSSIBLE,
        "streamed": "calls ['weather({\"city\")']",
        "helper": "calls ['weather({})']",
    },
    "unknown_tool": {
        "whole": 'calls [\'no_such_tool({"city": "Ulm"})\']',
        "streamed": 'calls [\'no_such_tool({"city":"Ulm"})\']',
        "helper": 'calls [\'no_such_tool({"city": "Ulm"})\']',
    },
    "missing_call_id": {
        "whole": 'calls [\'weather({"city": "Ulm"}) without an id\']',
        "streamed": 'calls [\'weather({"city":"Ulm"}) without an id\']',
        "helper": 'calls [\'weather({"city": "Ulm"}) without an id\']',
    },
    "no_usage": {
        "whole": "usage False",
        "streamed": "usage False",
        "helper": "builtins.AttributeError after 'one two three four'",
    },
    "other_model": "model 'another-model'",
    "error_event": {"whole": IMPOSSIBLE, "streamed": "anthropic.APIStatusError after 'one two '"},
}


def client(heard):
    return anthropic.Anthropic(**heard.options)


def async_client(heard):
    return anthropic.AsyncAnthropic(**heard.options)


def hear_message(heard, message):
    heard.text = "".join(block.text for block in message.content if block.type == "text")
    heard.finish, heard.model, heard.usage = message.stop_reason, message.model, message.usage is not None
    heard.refusal = (message.stop_details.explanation or "") if message.stop_details else ""
    for block in message.content:
        if block.type == "tool_use":
            heard.call(block.name, json.dumps(block.input), block.id)


class Events:
    """Puts the events of a message together as they come."""

    def __init__(self, heard):
        self.heard = heard
        self.calls = {}

    def take(self, event):
        heard = self.heard
        if event.type == "message_start":
            heard.model, heard.usage = event.message.model, event.message.usage is not None
        elif event.type == "content_block_start" and event.content_block.type == "tool_use":
            block = event.content_block
            self.calls[event.index] = [block.name, "", block.id]
        elif event.type == "content_block_delta" and event.delta.type == "text_delta":
            heard.text += event.delta.text
        elif event.type == "content_block_delta" and event.delta.type == "input_json_delta":
            self.calls[event.index][1] += event.delta.partial_json
        elif event.type == "message_delta":
            heard.finish = event.delta.stop_reason
            heard.refusal = (event.delta.stop_details.explanation or "") if event.delta.stop_details else ""

    def end(self):
        for call in self.calls.values():
            self.heard.call(*call)


def whole(heard):
    hear_message(heard, client(heard).messages.create(**ASKED))


def streamed(heard):
    events = Events(heard)
    for event in client(heard).messages.create(stream=True, **ASKED):
        events.take(event)
    events.end()


def helper(heard):
    with client(heard).messages.stream(**ASKED) as stream:
        for text in stream.text_stream:
            heard.text += text
        hear_message(heard, stream.get_final_message())


def whole_async(heard):
    async def ask():
        return await async_client(heard).messages.create(**ASKED)

    hear_message(heard, run(ask()))


def streamed_async(heard):
    async def ask():
        events = Events(heard)
        async for event in await async_client(heard).messages.create(stream=True, **ASKED):
            events.take(event)
        events.end()

    run(ask())


def helper_async(heard):
    async def ask():
        async with async_client(heard).messages.stream(**ASKED) as stream:
            async for text in stream.text_stream:
                heard.text += text
            return await stream.get_final_message()

    hear_message(heard, run(ask()))


@faults(EXPECTED, whole, streamed, helper, whole_async, streamed_async, helper_async)
def test_a_fault(aquila_script, aquila_faults, fault, ask, wanted):
    check(aquila_script, aquila_faults, fault, ask, wanted)


@pytest.mark.parametrize("ask", [whole, streamed, helper, whole_async])
def test_the_client_tries_again_and_does_not_wait(aquila_script, aquila_faults, ask, monkeypatch):
    waits = waits_of(monkeypatch)
    aquila_script.reply(TEXT)
    heard = Heard(options={})
    with aquila_faults("rate_limit(times=2, retry_after=30)") as plan:
        ask(heard)
    assert (heard.text, plan.met, len(waits)) == (TEXT, 2, 2)
    assert max(waits) < 0.1
