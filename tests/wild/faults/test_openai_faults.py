"""openai, whose answers have faults: chat completions and Responses."""

import openai
import pytest
from spoilt import IMPOSSIBLE, SAME, TEXT, Heard, check, faults, run, waits_of

MODEL = "gpt-4.1"
CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "Hi!"}]}
CHAT_STREAM = {**CHAT, "stream": True, "stream_options": {"include_usage": True}}
RESPONSE = {"model": MODEL, "input": "Hi!"}
IS_OLD = openai.__version__.startswith("2.")
# The old client lets the errors of its HTTP library through once a stream has begun.
CUT = "httpx.RemoteProtocolError" if IS_OLD else "openai.APIConnectionError"
STALLED = "httpx.ReadTimeout" if IS_OLD else "openai.APITimeoutError"
EXPECTED = {
    "connection_refused": "openai.APIConnectionError",
    "connection_reset": "openai.APIConnectionError",
    "timeout": "openai.APITimeoutError",
    "bad_request": "openai.BadRequestError",
    "unauthorized": "openai.AuthenticationError",
    "forbidden": "openai.PermissionDeniedError",
    "not_found": "openai.NotFoundError",
    "request_timeout": "openai.APIStatusError",
    "unprocessable": "openai.UnprocessableEntityError",
    "rate_limit": "openai.RateLimitError",
    "server_error": "openai.InternalServerError",
    "overloaded": "openai.InternalServerError",
    "html_page": "openai.InternalServerError",
    "cut_stream": {
        "chat": "openai.APIConnectionError",
        "chat_streamed": f"{CUT} after 'one two three '",
        "responses": "openai.APIConnectionError",
        "responses_streamed": f"{CUT} after 'one two '",
    },
    "end_early": {
        "chat": "json.JSONDecodeError",
        "chat_streamed": "text 'one two three '; finish None; usage False",
        "responses": "json.JSONDecodeError",
        "responses_streamed": "text 'one two '; finish None; model None; usage False",
    },
    "stall": {
        "chat": "openai.APITimeoutError",
        "chat_streamed": f"{STALLED} after 'one two three '",
        "responses": "openai.APITimeoutError",
        "responses_streamed": f"{STALLED} after 'one two '",
    },
    "slow": SAME,
    "one_byte": SAME,
    "one_piece": SAME,
    "abnormal_close": IMPOSSIBLE,  # a fault of WebSockets
    "split_events": {"chat": IMPOSSIBLE, "chat_streamed": SAME, "responses": IMPOSSIBLE, "responses_streamed": SAME},
    "other_chunks": SAME,
    "duplicated_event": {
        "chat": IMPOSSIBLE,
        "chat_streamed": "text 'one two three three four'",
        "responses": IMPOSSIBLE,
        "responses_streamed": "text 'one two two three four in pieces, one two three four at the end'",
    },
    "dropped_event": {
        "chat": IMPOSSIBLE,
        "chat_streamed": "text 'one two four'",
        "responses": IMPOSSIBLE,
        "responses_streamed": "text 'one three four in pieces, one two three four at the end'",
    },
    "reordered_events": {
        "chat": IMPOSSIBLE,
        "chat_streamed": "text 'one two fourthree '",
        "responses": IMPOSSIBLE,
        "responses_streamed": "text 'one three two four in pieces, one two three four at the end'",
    },
    "garbage": {
        "chat": "json.JSONDecodeError",
        "chat_streamed": "json.JSONDecodeError after 'one two '",
        "responses": "json.JSONDecodeError",
        "responses_streamed": "json.JSONDecodeError after 'one '",
    },
    "truncated_json": {
        "chat": "json.JSONDecodeError",
        "chat_streamed": "json.JSONDecodeError after 'one two '",
        "responses": "json.JSONDecodeError",
        "responses_streamed": "json.JSONDecodeError after 'one '",
    },
    "invalid_utf8": {
        "chat": "builtins.UnicodeDecodeError",
        "chat_streamed": "builtins.UnicodeDecodeError after 'one two '",
        "responses": "builtins.UnicodeDecodeError",
        "responses_streamed": "builtins.UnicodeDecodeError after 'one '",
    },
    "finish_length": {
        "chat": "finish 'length'",
        "chat_streamed": "finish 'length'",
        "responses": "finish 'max_output_tokens'",
        "responses_streamed": "finish 'max_output_tokens'",
        "chat_helper": "openai.LengthFinishReasonError after 'one two three four'",
    },
    "content_filter": {
        "chat": "finish 'content_filter'",
        "chat_streamed": "finish 'content_filter'",
        "responses": "finish 'content_filter'",
        "responses_streamed": "finish 'content_filter'",
        "chat_helper": "openai.ContentFilterFinishReasonError after 'one two three four'",
    },
    "refusal": "text ''; refusal \"I'm sorry, but I can't help with that.\"",
    "empty_answer": "text ''",
    "broken_arguments": "calls ['weather({\"city\")']",
    "unknown_tool": 'calls [\'no_such_tool({"city":"Ulm"})\']',
    "missing_call_id": 'calls [\'weather({"city":"Ulm"}) without an id\']',
    "no_usage": "usage False",
    "other_model": "model 'another-model'",
    "error_event": {
        "chat": IMPOSSIBLE,
        "chat_streamed": "openai.APIError after 'one two three '",
        "responses": IMPOSSIBLE,
        "responses_streamed": "text 'one two '; finish None; model None; usage False; error 'server_error'",
    },
}


def client(heard):
    return openai.OpenAI(**heard.options)


def async_client(heard):
    return openai.AsyncOpenAI(**heard.options)


def hear_completion(heard, completion):
    (choice,) = completion.choices
    message = choice.message
    heard.text, heard.refusal, heard.finish = message.content or "", message.refusal or "", choice.finish_reason
    heard.model, heard.usage = completion.model, completion.usage is not None
    for call in message.tool_calls or ():
        heard.call(call.function.name, call.function.arguments, call.id)


class Chunks:
    """Puts the chunks of a completion together as they come."""

    def __init__(self, heard):
        self.heard = heard
        self.calls = {}

    def take(self, chunk):
        heard = self.heard
        heard.model, heard.usage = chunk.model, heard.usage or chunk.usage is not None
        for choice in chunk.choices:
            heard.finish = choice.finish_reason or heard.finish
            heard.text += choice.delta.content or ""
            heard.refusal += choice.delta.refusal or ""
            for call in choice.delta.tool_calls or ():
                name, arguments, id = self.calls.get(call.index, ("", "", ""))
                self.calls[call.index] = (
                    name + (call.function.name or ""),
                    arguments + (call.function.arguments or ""),
                    id or call.id,
                )

    def end(self):
        for call in self.calls.values():
            self.heard.call(*call)


def hear_response(heard, response):
    parts = [part for item in response.output if item.type == "message" for part in item.content]
    details = response.incomplete_details
    heard.text = "".join(part.text for part in parts if part.type == "output_text")
    heard.refusal = "".join(part.refusal for part in parts if part.type == "refusal")
    heard.finish = details.reason if details else response.status
    heard.model, heard.usage = response.model, response.usage is not None
    for item in response.output:
        if item.type == "function_call":
            heard.call(item.name, item.arguments, item.call_id)


def hear_event(heard, event):
    """Take a delta, and the whole response at the end of the stream."""
    if event.type == "response.output_text.delta":
        heard.text += event.delta
    elif event.type == "error":
        heard.error = event.code
    elif event.type in ("response.completed", "response.incomplete", "response.failed"):
        text = heard.text
        hear_response(heard, event.response)
        if text != heard.text:
            heard.text = f"{text} in pieces, {heard.text} at the end"


def chat(heard):
    hear_completion(heard, client(heard).chat.completions.create(**CHAT))


def chat_streamed(heard):
    chunks = Chunks(heard)
    for chunk in client(heard).chat.completions.create(**CHAT_STREAM):
        chunks.take(chunk)
    chunks.end()


def chat_helper(heard):
    with client(heard).chat.completions.stream(**CHAT, stream_options={"include_usage": True}) as stream:
        for event in stream:
            if event.type == "content.delta":
                heard.text += event.delta
        hear_completion(heard, stream.get_final_completion())


def chat_async(heard):
    async def ask():
        return await async_client(heard).chat.completions.create(**CHAT)

    hear_completion(heard, run(ask()))


def chat_streamed_async(heard):
    async def ask():
        chunks = Chunks(heard)
        async for chunk in await async_client(heard).chat.completions.create(**CHAT_STREAM):
            chunks.take(chunk)
        chunks.end()

    run(ask())


def responses(heard):
    hear_response(heard, client(heard).responses.create(**RESPONSE))


def responses_streamed(heard):
    for event in client(heard).responses.create(stream=True, **RESPONSE):
        hear_event(heard, event)


def responses_helper(heard):
    with client(heard).responses.stream(**RESPONSE) as stream:
        for event in stream:
            hear_event(heard, event)


def responses_async(heard):
    async def ask():
        return await async_client(heard).responses.create(**RESPONSE)

    hear_response(heard, run(ask()))


def responses_streamed_async(heard):
    async def ask():
        async for event in await async_client(heard).responses.create(stream=True, **RESPONSE):
            hear_event(heard, event)

    run(ask())


@faults(
    EXPECTED,
    chat,
    chat_streamed,
    chat_helper,
    chat_async,
    chat_streamed_async,
    responses,
    responses_streamed,
    responses_helper,
    responses_async,
    responses_streamed_async,
)
def test_a_fault(aquila_script, aquila_faults, fault, ask, wanted):
    check(aquila_script, aquila_faults, fault, ask, wanted)


@pytest.mark.parametrize("ask", [chat, chat_streamed, chat_async, responses, responses_streamed])
def test_the_client_tries_again_and_does_not_wait(aquila_script, aquila_faults, ask, monkeypatch):
    waits = waits_of(monkeypatch)
    aquila_script.reply(TEXT)
    heard = Heard(options={})
    with aquila_faults("rate_limit(times=2, retry_after=30)") as plan:
        ask(heard)
    assert (heard.text, plan.met, len(waits)) == (TEXT, 2, 2)
    assert max(waits) < 0.1
