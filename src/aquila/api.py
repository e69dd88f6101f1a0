"""The functions of the package: ``ask``, ``stream`` and their asynchronous twins.

Importing this module loads nothing of the engine, and not even ``typing``: each function imports what it needs.
"""

from __future__ import annotations

import os

from aquila.lazy_imports import lazy_modules

TYPE_CHECKING = False  # type checkers take it for True; ``typing`` alone takes most of the time of ``import aquila``
if not TYPE_CHECKING:

    def overload(function):
        """Return the function unchanged, as a stand-in for ``typing.overload``, whose import would be too slow."""
        return function


if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Literal, TypeVar, Unpack, overload

    from pydantic import BaseModel

    from aquila.engine.calls import call_plan, stored_answers, transcription
    from aquila.engine.calls.options import AskOptions, RequestOptions, TranscribeOptions
    from aquila.engine.streams import async_stream, sync_stream
    from aquila.engine.streams.async_stream import AsyncStream
    from aquila.engine.streams.sync_stream import Stream
    from aquila.messages import Prompt
    from aquila.response import Response, Transcription
    from aquila.transports import own_threads

    # Two overloads, although mypy lists both, with all options, if the type of one option is wrong. In one signature
    # with a default, no argument decides ``ModelT`` where none is given: type checkers then take it from the variable
    # that the answer is assigned to, and ``reply: Response[City] = ask("...")`` passes.
    ModelT = TypeVar("ModelT", bound=BaseModel)
else:
    lazy_modules(
        globals(),
        "aquila.engine.calls: call_plan, stored_answers, transcription",
        "aquila.engine.streams: async_stream, sync_stream",
        "aquila.transports: own_threads",
    )


@overload
def ask(prompt: Prompt, *, response_format: type[ModelT], **options: Unpack[AskOptions]) -> Response[ModelT]: ...
@overload
def ask(
    prompt: Prompt, *, response_format: Mapping[str, Any] | None = None, **options: Unpack[AskOptions]
) -> Response[None]: ...
def ask(
    prompt: Prompt,
    *,
    response_format: type[BaseModel] | Mapping[str, Any] | None = None,
    **options: Unpack[AskOptions],
) -> Response:
    """Ask a model and return its complete answer.

    ``prompt`` is text, a message (``Message``, a dict, ``(role, content)``), or a list of them. The options:

    - ``model``, ``instructions`` (the system prompt), ``endpoint``: ``"chat"`` (the default) or ``"responses"``;
    - ``temperature``, ``top_p``, ``seed`` and ``stop`` (both chat only), ``max_output_tokens``;
    - ``response_format``: a pydantic model, and ``reply.parsed`` is one; or a dict in the form of the chat API;
    - ``tools``: functions, ``Tool`` objects, and built-in tools by name or as a dict; ``tool_choice``: ``"auto"``,
      ``"required"``, ``"none"`` or a tool's name (a call is forced in the first turn only); ``parallel_tool_calls``;
      ``concurrent_tools``: run the calls of a turn at the same time; ``tool_context``: given to tools that ask for it;
      ``tool_errors``: ``"reply"`` sends the error to the model, ``"raise"`` raises ``ToolError``;
      ``max_tool_iterations`` (24) and ``max_tool_failures`` (3 in a row) end the run, and ``reply.meta["stopped"]``
      says so; ``max_tool_calls`` limits the provider's own tools (Responses API only);
    - ``reasoning``: an effort, or ``{"effort": ..., "summary": ...}`` (a summary on the Responses API only);
      ``text={"verbosity": ...}``; ``store``; on the Responses API ``previous_response_id``, ``truncation``, and
      ``background`` with ``poll_interval`` in seconds, and ``websocket``: the whole call goes over one WebSocket;
    - ``user``: an identifier of the end user; ``service_tier``;
    - ``metadata``: a mapping that comes back in ``reply.meta``, in every event and in telemetry; by default no part of
      what identifies a recording. It is sent to the provider where its API takes it, as text: on the Responses API
      always, on chat with ``store=True``;
    - ``cassette``, ``transport``: where the answer comes from; see the guide on transports;
    - ``base_url``, ``api_key``: the provider;
    - ``timeout``: the longest time without data in seconds (30), or ``Timeouts(connect=, read=, idle=, total=)``;
    - ``max_retries``: how often a request is sent again while its answer has not begun (2);
    - ``provider_options``: a mapping that is merged into the request's body;
    - ``sink``: an object that receives the events while the answer arrives.

    Raises ``ConfigError`` for a request that cannot be sent, ``ProviderError`` if the provider refuses or fails,
    ``StreamTimeout`` if it is silent for too long, and what the transport raises, such as ``CassetteMiss``.

    Examples:
        >>> reply = aquila.ask("How do eagles fly so far?", instructions="Answer in one sentence.", temperature=0)
        >>> reply.text, reply.usage.total_tokens
        ('Eagles circle in rising warm air.', 7)
    """
    plan = call_plan.plan_conversation(prompt, {**options, "response_format": response_format})
    response: Response = sync_stream.run_call(plan)
    return response


@overload
def stream(prompt: Prompt, *, response_format: type[ModelT], **options: Unpack[AskOptions]) -> Stream[ModelT]: ...
@overload
def stream(
    prompt: Prompt, *, response_format: Mapping[str, Any] | None = None, **options: Unpack[AskOptions]
) -> Stream[None]: ...
def stream(
    prompt: Prompt,
    *,
    response_format: type[BaseModel] | Mapping[str, Any] | None = None,
    **options: Unpack[AskOptions],
) -> Stream:
    """Ask a model and return a ``Stream`` of the events of its answer. The options are those of ``ask``.

    With ``sink=`` the stream starts at once on a background thread, which gives its events to the sink.

    Examples:
        >>> with aquila.stream("How do eagles fly so far?") as stream:
        ...     for event in stream:
        ...         if isinstance(event, aquila.Chunk):
        ...             print(event.text, end="|")
        Eagles |circle |in |rising |warm |air.|
    """
    return sync_stream.open_stream(prompt, {**options, "response_format": response_format})


@overload
async def aask(prompt: Prompt, *, response_format: type[ModelT], **options: Unpack[AskOptions]) -> Response[ModelT]: ...
@overload
async def aask(
    prompt: Prompt, *, response_format: Mapping[str, Any] | None = None, **options: Unpack[AskOptions]
) -> Response[None]: ...
async def aask(
    prompt: Prompt,
    *,
    response_format: type[BaseModel] | Mapping[str, Any] | None = None,
    **options: Unpack[AskOptions],
) -> Response:
    """``ask`` for asynchronous code: the same options, answers and errors.

    Examples:
        >>> import asyncio
        >>> asyncio.run(aquila.aask("How do eagles fly so far?")).text
        'Eagles circle in rising warm air.'
    """
    plan = call_plan.plan_conversation(prompt, {**options, "response_format": response_format})
    response: Response = await async_stream.run_call_async(plan)
    return response


@overload
def astream(prompt: Prompt, *, response_format: type[ModelT], **options: Unpack[AskOptions]) -> AsyncStream[ModelT]: ...
@overload
def astream(
    prompt: Prompt, *, response_format: Mapping[str, Any] | None = None, **options: Unpack[AskOptions]
) -> AsyncStream[None]: ...
def astream(
    prompt: Prompt,
    *,
    response_format: type[BaseModel] | Mapping[str, Any] | None = None,
    **options: Unpack[AskOptions],
) -> AsyncStream:
    """``stream`` for asynchronous code: the same options, events and errors. Not a coroutine: use ``async with``."""
    return async_stream.open_async_stream(prompt, {**options, "response_format": response_format})


def retrieve_response(id: str | Response, **options: Unpack[RequestOptions]) -> Response:
    """Return the current state of a stored answer of the Responses API.

    ``id`` is the provider's id of the answer, or an earlier ``Response`` that has it.

    ``reply.meta["finish_reason"]`` is ``queued`` or ``in_progress`` while the answer is being made. The options are
    those that say where and how the request is sent: ``cassette``, ``transport``, ``base_url``, ``api_key``,
    ``timeout`` (seconds), ``max_retries`` and ``metadata``. Raises what ``ask`` raises.
    """
    response: Response = sync_stream.run_call(stored_answers.plan_retrieval(id, options))
    return response


async def aretrieve_response(id: str | Response, **options: Unpack[RequestOptions]) -> Response:
    """``retrieve_response`` for asynchronous code.

    Examples:
        >>> import asyncio
        >>> started = aquila.ask("How high do eagles fly?", endpoint="responses", background=True, poll_interval=0)
        >>> asyncio.run(aquila.aretrieve_response(started)).text
        'Eagles reach 4,000 metres.'
    """
    response: Response = await async_stream.run_call_async(stored_answers.plan_retrieval(id, options))
    return response


def cancel_response(id: str | Response, **options: Unpack[RequestOptions]) -> Response:
    """Stop an answer that is being made in the background, and return its last state.

    ``id`` and the options are those of ``retrieve_response``, and so are the errors.

    Examples:
        >>> started = aquila.research.create("How high do eagles fly?")
        >>> started.meta["finish_reason"]
        'queued'
        >>> aquila.cancel_response(started.meta["id"]).meta["finish_reason"]
        'cancelled'
    """
    response: Response = sync_stream.run_call(stored_answers.plan_cancellation(id, options))
    return response


async def acancel_response(id: str | Response, **options: Unpack[RequestOptions]) -> Response:
    """``cancel_response`` for asynchronous code.

    Examples:
        >>> import asyncio
        >>> started = aquila.research.create("How high do eagles fly?")
        >>> asyncio.run(aquila.acancel_response(started)).meta["finish_reason"]
        'cancelled'
    """
    response: Response = await async_stream.run_call_async(stored_answers.plan_cancellation(id, options))
    return response


def delete_response(id: str | Response, **options: Unpack[RequestOptions]) -> None:
    """Delete a stored answer. ``id``, the options and the errors are those of ``retrieve_response``.

    Examples:
        >>> reply = aquila.ask("How do eagles fly so far?", endpoint="responses", store=True)
        >>> aquila.delete_response(reply)
    """
    sync_stream.run_call(stored_answers.plan_deletion(id, options))


async def adelete_response(id: str | Response, **options: Unpack[RequestOptions]) -> None:
    """``delete_response`` for asynchronous code.

    Examples:
        >>> import asyncio
        >>> reply = aquila.ask("How do eagles fly so far?", endpoint="responses", store=True)
        >>> asyncio.run(aquila.adelete_response(reply))
    """
    await async_stream.run_call_async(stored_answers.plan_deletion(id, options))


@overload
def transcribe(
    source: str | os.PathLike[str] | bytes, *, raw: Literal[False] = False, **options: Unpack[TranscribeOptions]
) -> Transcription: ...
@overload
def transcribe(
    source: str | os.PathLike[str] | bytes, *, raw: Literal[True], **options: Unpack[TranscribeOptions]
) -> dict[str, Any] | str: ...
def transcribe(
    source: str | os.PathLike[str] | bytes, *, raw: bool = False, **options: Unpack[TranscribeOptions]
) -> Transcription | dict[str, Any] | str:
    """Transcribe recorded speech, given as a path or as bytes, and return a ``Transcription``.

    - ``model``: ``gpt-4o-mini-transcribe`` by default; ``language``, ``prompt``, ``temperature``;
    - ``response_format``: ``json`` (the default), ``text``, ``srt``, ``verbose_json``, ``vtt`` or ``diarized_json``;
    - ``raw=True``: return the provider's own answer, a dict or text;
    - ``filename``: the name under which bytes are sent; its suffix names their format (``audio.wav``);
    - ``provider_options``: further fields of the request; and the options of ``retrieve_response``.

    A recording replays for the same audio bytes; other audio is a ``CassetteMiss``. Raises what ``ask`` raises.
    """
    transcribed: Transcription | dict[str, Any] | str = sync_stream.run_call(
        transcription.plan_transcription(source, {**options, "raw": raw})
    )
    return transcribed


@overload
async def atranscribe(
    source: str | os.PathLike[str] | bytes, *, raw: Literal[False] = False, **options: Unpack[TranscribeOptions]
) -> Transcription: ...
@overload
async def atranscribe(
    source: str | os.PathLike[str] | bytes, *, raw: Literal[True], **options: Unpack[TranscribeOptions]
) -> dict[str, Any] | str: ...
async def atranscribe(
    source: str | os.PathLike[str] | bytes, *, raw: bool = False, **options: Unpack[TranscribeOptions]
) -> Transcription | dict[str, Any] | str:
    """``transcribe`` for asynchronous code; the file is read in a thread.

    Examples:
        >>> import asyncio
        >>> asyncio.run(aquila.atranscribe(b"RIFF....WAVE", filename="morning.wav")).text
        'Good morning.'
    """
    plan = await own_threads.run_in_thread(transcription.plan_transcription, source, {**options, "raw": raw})
    transcribed: Transcription | dict[str, Any] | str = await async_stream.run_call_async(plan)
    return transcribed
