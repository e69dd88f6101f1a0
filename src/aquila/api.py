"""The functions of the package: ``ask``, ``stream`` and their asynchronous twins.

A module of its own, so that importing the package loads nothing of the engine.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aquila.engine.streams.async_stream import AsyncStream
    from aquila.engine.streams.sync_stream import Stream
    from aquila.response import Response


def ask(prompt: Any, **options: Any) -> Response:
    """Ask a model and return its complete answer.

    ``prompt`` is text, a message (``Message``, a dict, ``(role, content)``), or a list of them. The options:

    - ``model``, ``instructions`` (the system prompt), ``endpoint``: ``"chat"`` (the default) or ``"responses"``;
    - ``temperature``, ``top_p``, ``seed`` and ``stop`` (both chat only), ``max_output_tokens``, also called
      ``max_completion_tokens``;
    - ``response_format``: a pydantic model, and ``reply.parsed`` is one; or a dict in the form of the chat API;
    - ``tools``: functions, ``Tool`` objects, names or dicts of built-in tools; ``tool_choice``: ``"auto"``,
      ``"required"``, ``"none"`` or a name (a forced call is forced once); ``parallel_tool_calls``;
      ``concurrent_tools``: run the calls of a turn at once; ``tool_context``: for the tools that ask for it;
      ``tool_errors``: ``"reply"`` tells the model, ``"raise"`` raises ``ToolError``; ``max_tool_iterations`` (24) and
      ``max_tool_failures`` (3 in a row) end the run, and ``reply.meta["stopped"]`` says so;
    - ``reasoning``: an effort, or ``{"effort": ..., "summary": ...}`` (a summary on the Responses API only); ``store``;
      on the Responses API ``previous_response_id``, and ``background`` with ``poll_interval`` in seconds;
    - ``metadata``: a mapping that comes back in ``reply.meta``, in every event and in telemetry; never part of what
      identifies a recording. It is sent to the provider where its API takes it, as text: on the Responses API always,
      on chat with ``store=True``;
    - ``cassette``, ``transport``: where the answer comes from; see the guide on transports;
    - ``base_url``, ``api_key``: the provider;
    - ``timeout``: the longest silence in seconds (30), or ``Timeouts(connect=, read=, idle=, total=)``;
    - ``max_retries``: of a request whose answer has not begun (2);
    - ``provider_options``: a mapping that is merged into the request's body;
    - ``sink``: where events are pushed on the way.

    Raises ``ConfigError`` for what cannot be sent, ``ProviderError`` for what the provider does, and what the transport
    raises, such as ``CassetteMiss``.
    """
    from aquila.engine.streams.sync_stream import answer_prompt

    return answer_prompt(prompt, options)


def stream(prompt: Any, **options: Any) -> Stream:
    """Ask a model and return a ``Stream`` of the events of its answer. The options are those of ``ask``.

    With ``sink=`` the stream starts at once on a background thread and pushes its events there.
    """
    from aquila.engine.streams.sync_stream import open_stream

    return open_stream(prompt, options)


async def aask(prompt: Any, **options: Any) -> Response:
    """``ask`` for asynchronous code: the same options, answers and errors."""
    from aquila.engine.streams.async_stream import answer_prompt_async

    return await answer_prompt_async(prompt, options)


def astream(prompt: Any, **options: Any) -> AsyncStream:
    """``stream`` for asynchronous code: the same options, events and errors. Not a coroutine: use ``async with``."""
    from aquila.engine.streams.async_stream import open_async_stream

    return open_async_stream(prompt, options)


def retrieve_response(id: str | Response, **options: Any) -> Response:
    """Return a stored answer of the Responses API as it is now, by its id or by an earlier ``Response``.

    ``reply.meta["finish_reason"]`` is ``queued`` or ``in_progress`` while it is being made. The options are those
    of where requests go: ``cassette``, ``transport``, ``base_url``, ``api_key``, ``timeout``, ``max_retries`` and
    ``metadata``.
    """
    from aquila.engine.calls.operations import plan_retrieval
    from aquila.engine.streams.sync_stream import run_call

    response: Response = run_call(plan_retrieval("retrieve_response", id, options, path="responses.retrieve"))
    return response


async def aretrieve_response(id: str | Response, **options: Any) -> Response:
    """``retrieve_response`` for asynchronous code."""
    from aquila.engine.calls.operations import plan_retrieval
    from aquila.engine.streams.async_stream import run_call_async

    response: Response = await run_call_async(
        plan_retrieval("retrieve_response", id, options, path="responses.retrieve")
    )
    return response


def cancel_response(id: str | Response, **options: Any) -> Response:
    """Stop an answer that is being made in the background; return it as it is then. Options: ``retrieve_response``."""
    from aquila.engine.calls.operations import plan_retrieval
    from aquila.engine.streams.sync_stream import run_call

    response: Response = run_call(plan_retrieval("cancel_response", id, options, path="responses.cancel"))
    return response


async def acancel_response(id: str | Response, **options: Any) -> Response:
    """``cancel_response`` for asynchronous code."""
    from aquila.engine.calls.operations import plan_retrieval
    from aquila.engine.streams.async_stream import run_call_async

    response: Response = await run_call_async(plan_retrieval("cancel_response", id, options, path="responses.cancel"))
    return response


def delete_response(id: str | Response, **options: Any) -> None:
    """Delete a stored answer. Options: ``retrieve_response``."""
    from aquila.engine.calls.operations import plan_deletion
    from aquila.engine.streams.sync_stream import run_call

    run_call(plan_deletion(id, options))


async def adelete_response(id: str | Response, **options: Any) -> None:
    """``delete_response`` for asynchronous code."""
    from aquila.engine.calls.operations import plan_deletion
    from aquila.engine.streams.async_stream import run_call_async

    await run_call_async(plan_deletion(id, options))


def transcribe(source: str | os.PathLike[str] | bytes, **options: Any) -> Any:
    """Write down what is said in a sound: a path, or bytes. Returns a ``Transcription``.

    - ``model``: ``gpt-4o-mini-transcribe`` by default; ``language``, ``prompt``, ``temperature``;
    - ``response_format``: ``json`` (the default), ``text``, ``srt``, ``verbose_json``, ``vtt`` or ``diarized_json``;
    - ``raw=True``: return the provider's own answer, a dict or text;
    - ``filename``: the name under which bytes are sent; its suffix says what they are (``audio.wav``);
    - ``provider_options``: further fields of the request; and the options of ``retrieve_response``.

    A recording replays for the same sound, and is a miss for another one.
    """
    from aquila.engine.calls.operations import plan_transcription
    from aquila.engine.streams.sync_stream import run_call

    return run_call(plan_transcription(source, options))


async def atranscribe(source: str | os.PathLike[str] | bytes, **options: Any) -> Any:
    """``transcribe`` for asynchronous code; the file is read off the event loop."""
    from anyio.to_thread import run_sync

    from aquila.engine.calls.operations import plan_transcription
    from aquila.engine.streams.async_stream import run_call_async

    return await run_call_async(await run_sync(plan_transcription, source, options))
