"""google-genai, whose answers have faults. Its synchronous client uses httpx2, the asynchronous one aiohttp."""

import json

from google import genai
from spoilt import IMPOSSIBLE, SAME, check, faults, run

ASKED = {"model": "gemini-2.5-flash", "contents": "Hi!"}
EXPECTED = {
    "connection_refused": {
        "whole": "httpx2.ConnectError",
        "streamed": "httpx2.ConnectError",
        "whole_async": "aiohttp.ClientConnectorError",
        "streamed_async": "aiohttp.ClientConnectorError",
    },
    "connection_reset": {
        "whole": "httpx2.ReadError",
        "streamed": "httpx2.ReadError",
        "whole_async": "aiohttp.ClientOSError",
        "streamed_async": "aiohttp.ClientOSError",
    },
    "timeout": {
        "whole": "httpx2.ReadTimeout",
        "streamed": "httpx2.ReadTimeout",
        "whole_async": "builtins.TimeoutError",
        "streamed_async": "builtins.TimeoutError",
    },
    "bad_request": "google.ClientError",
    "unauthorized": "google.ClientError",
    "forbidden": "google.ClientError",
    "not_found": "google.ClientError",
    "request_timeout": "google.ClientError",
    "unprocessable": "google.ClientError",
    "rate_limit": "google.ClientError",
    "server_error": "google.ServerError",
    "overloaded": "google.ServerError",
    "html_page": "google.ServerError",
    "cut_stream": {
        "whole": "httpx2.RemoteProtocolError",
        "streamed": "httpx2.RemoteProtocolError after 'one two '",
        "whole_async": "aiohttp.ClientPayloadError",
        "streamed_async": "aiohttp.ClientPayloadError after 'one two '",
    },
    "end_early": {"whole": "json.JSONDecodeError", "streamed": "text 'one two '; finish None"},
    "stall": {
        "whole": "httpx2.ReadTimeout",
        "streamed": "httpx2.ReadTimeout after 'one two '",
        "whole_async": "builtins.TimeoutError",
        "streamed_async": "builtins.TimeoutError after 'one two '",
    },
    "slow": SAME,
    "one_byte": SAME,
    "one_piece": SAME,
    "abnormal_close": IMPOSSIBLE,  # a fault of WebSockets
    "split_events": {"whole": IMPOSSIBLE, "streamed": SAME},
    "other_chunks": SAME,
    "duplicated_event": {"whole": IMPOSSIBLE, "streamed": "text 'one two two three four'"},
    "dropped_event": {"whole": IMPOSSIBLE, "streamed": "text 'one three four'"},
    "reordered_events": {"whole": IMPOSSIBLE, "streamed": "text 'one three two four'"},
    "garbage": {"whole": "json.JSONDecodeError", "streamed": "google.UnknownApiResponseError after 'one '"},
    "truncated_json": {"whole": "json.JSONDecodeError", "streamed": "google.UnknownApiResponseError after 'one '"},
    "invalid_utf8": {
        "whole": "replaced True",
        "streamed": "replaced True",
        "whole_async": "builtins.UnicodeDecodeError",
        "streamed_async": "builtins.UnicodeDecodeError after 'one '",
    },
    "finish_length": "finish 'MAX_TOKENS'",
    "content_filter": "finish 'SAFETY'",
    "refusal": "text ''; refusal \"I'm sorry, but I can't help with that.\"; finish 'PROHIBITED_CONTENT'",
    "empty_answer": "text ''",
    "broken_arguments": IMPOSSIBLE,
    "unknown_tool": 'calls [\'no_such_tool({"city": "Ulm"})\']',
    "missing_call_id": 'calls [\'weather({"city": "Ulm"}) without an id\']',
    "no_usage": "usage False",
    "other_model": "model 'another-model'",
    "error_event": {"whole": IMPOSSIBLE, "streamed": "google.ServerError after 'one two '"},
}


def client():
    # In milliseconds: without it a silence has no end. Without options for retries the asynchronous client asks again
    # after a broken connection, and waits for up to ten seconds before.
    return genai.Client(http_options={"timeout": 60_000, "retry_options": {"attempts": 1}})


def hear(heard, chunk):
    heard.model, heard.usage = chunk.model_version or heard.model, heard.usage or chunk.usage_metadata is not None
    heard.replaced |= "\ufffd" in chunk.model_dump_json()
    if chunk.prompt_feedback:
        heard.refusal = chunk.prompt_feedback.block_reason_message
        heard.finish = chunk.prompt_feedback.block_reason.value
    for candidate in chunk.candidates or ():
        if candidate.finish_reason:
            heard.finish = candidate.finish_reason.value
        for part in (candidate.content and candidate.content.parts) or ():
            if part.function_call:
                heard.call(part.function_call.name, json.dumps(part.function_call.args), part.function_call.id)
            else:
                heard.text += part.text


def whole(heard):
    with client() as synchronous:
        hear(heard, synchronous.models.generate_content(**ASKED))


def streamed(heard):
    with client() as synchronous:
        for chunk in synchronous.models.generate_content_stream(**ASKED):
            hear(heard, chunk)


def whole_async(heard):
    async def ask():
        async with client().aio as asynchronous:
            return await asynchronous.models.generate_content(**ASKED)

    hear(heard, run(ask(), heard.limit))


def streamed_async(heard):
    async def ask():
        async with client().aio as asynchronous:
            async for chunk in await asynchronous.models.generate_content_stream(**ASKED):
                hear(heard, chunk)

    run(ask(), heard.limit)


@faults(EXPECTED, whole, streamed, whole_async, streamed_async)
def test_a_fault(aquila_script, aquila_faults, fault, ask, wanted):
    check(aquila_script, aquila_faults, fault, ask, wanted)
