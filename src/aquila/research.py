"""Deep research: answers that take minutes, with sources from the web.

``create`` starts a research in the background, ``fetch`` returns its state, ``result`` waits for its end, ``cancel``
stops it; ``stream`` starts one and yields its progress. Each has an asynchronous twin whose name begins with ``a``.
The options are those of ``ask`` on the Responses API. A web search tool is added where no tool brings sources, and the
model is a deep research model unless ``model=`` says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Unpack, overload

from aquila import api
from aquila.errors import ConfigError
from aquila.lazy_imports import lazy_modules
from aquila.response import Response
from aquila.tools import make_toolbox

if TYPE_CHECKING:
    from pydantic import BaseModel

    from aquila.api import ModelT
    from aquila.engine.calls import call_plan, stored_answers, timeouts
    from aquila.engine.calls.call_plan import CallPlan
    from aquila.engine.calls.options import AskOptions, RequestOptions, ResultOptions
    from aquila.engine.streams import async_stream, sync_stream
    from aquila.engine.streams.async_stream import AsyncStream
    from aquila.engine.streams.sync_stream import Stream
    from aquila.messages import Prompt
else:
    lazy_modules(
        globals(),
        "aquila.engine.calls: call_plan, stored_answers, timeouts",
        "aquila.engine.streams: async_stream, sync_stream",
    )

__all__ = [
    "MODEL",
    "acancel",
    "acreate",
    "afetch",
    "aresult",
    "astream",
    "cancel",
    "create",
    "fetch",
    "result",
    "stream",
]

MODEL = "o4-mini-deep-research"
"""The model that is used if ``model=`` is not given.

Examples:
    >>> aquila.research.MODEL
    'o4-mini-deep-research'
    >>> aquila.research.create("How high do eagles fly?", model="o3-deep-research").meta["finish_reason"]
    'queued'
"""

_SEARCH = {"type": "web_search_preview"}
# OpenAI refuses a request to a deep research model without at least one of these tools. Some have names with a date,
# such as `web_search_preview_2025_03_11`.
_SOURCES = ("web_search", "file_search", "mcp")
_POLL_INTERVAL = 10.0
"""Seconds between two requests for the state of a research, which takes minutes."""


# Overloads as of `aquila.ask`, for the reason that `aquila.api` gives.


@overload
def create(prompt: Prompt, *, response_format: type[ModelT], **options: Unpack[AskOptions]) -> Response[ModelT]: ...
@overload
def create(
    prompt: Prompt, *, response_format: Mapping[str, Any] | None = None, **options: Unpack[AskOptions]
) -> Response[None]: ...
def create(
    prompt: Prompt,
    *,
    response_format: type[BaseModel] | Mapping[str, Any] | None = None,
    **options: Unpack[AskOptions],
) -> Response:
    """Start a research and return at once. ``reply.meta["id"]`` is the id that the other functions take.

    ``prompt``, ``response_format``, the options and the errors are those of ``aquila.ask``.
    """
    response: Response = sync_stream.run_call(_plan_research(prompt, response_format, options))
    return response


@overload
async def acreate(
    prompt: Prompt, *, response_format: type[ModelT], **options: Unpack[AskOptions]
) -> Response[ModelT]: ...
@overload
async def acreate(
    prompt: Prompt, *, response_format: Mapping[str, Any] | None = None, **options: Unpack[AskOptions]
) -> Response[None]: ...
async def acreate(
    prompt: Prompt,
    *,
    response_format: type[BaseModel] | Mapping[str, Any] | None = None,
    **options: Unpack[AskOptions],
) -> Response:
    """``create`` for asynchronous code.

    Examples:
        >>> import asyncio
        >>> started = asyncio.run(aquila.research.acreate("How high do eagles fly?"))
        >>> started.meta["finish_reason"]
        'queued'
    """
    response: Response = await async_stream.run_call_async(_plan_research(prompt, response_format, options))
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
    """Start a research and return the ``Stream`` of its events. ``Progress`` events say what it searches and reads.

    If the stream breaks, the research goes on, and the rest of its answer is fetched.
    """
    return sync_stream.open_stream(prompt, _research_options(response_format, options))


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
    """``stream`` for asynchronous code.

    Examples:
        >>> import asyncio
        >>> async def watch():
        ...     async with aquila.research.astream("How high do eagles fly?") as stream:
        ...         return [event.kind async for event in stream if isinstance(event, aquila.Progress)]
        >>> "web_search_call" in asyncio.run(watch())
        True
    """
    return async_stream.open_async_stream(prompt, _research_options(response_format, options))


def fetch(id: str | Response, **options: Unpack[RequestOptions]) -> Response:
    """Return the current state of a research; ``finish_reason`` is ``queued`` or ``in_progress`` while it runs.

    Examples:
        >>> started = aquila.research.create("How high do eagles fly?")
        >>> aquila.research.fetch(started).text
        'Eagles reach 4,000 metres.'
    """
    return api.retrieve_response(id, **options)


async def afetch(id: str | Response, **options: Unpack[RequestOptions]) -> Response:
    """``fetch`` for asynchronous code.

    Examples:
        >>> import asyncio
        >>> started = aquila.research.create("How high do eagles fly?")
        >>> asyncio.run(aquila.research.afetch(started.meta["id"])).text
        'Eagles reach 4,000 metres.'
    """
    return await api.aretrieve_response(id, **options)


def cancel(id: str | Response, **options: Unpack[RequestOptions]) -> Response:
    """Stop a research and return its state after that.

    Examples:
        >>> started = aquila.research.create("How high do eagles fly?")
        >>> aquila.research.cancel(started).meta["finish_reason"]
        'cancelled'
    """
    return api.cancel_response(id, **options)


async def acancel(id: str | Response, **options: Unpack[RequestOptions]) -> Response:
    """``cancel`` for asynchronous code.

    Examples:
        >>> import asyncio
        >>> started = aquila.research.create("How high do eagles fly?")
        >>> asyncio.run(aquila.research.acancel(started)).meta["finish_reason"]
        'cancelled'
    """
    return await api.acancel_response(id, **options)


def result(id: str | Response, **options: Unpack[ResultOptions]) -> Response:
    """Wait until a research has ended and return it.

    ``timeout`` is the longest wait in seconds. After it ``RequestTimeout`` is raised, and the research goes on.
    ``poll_interval`` is the time between two requests for its state, in seconds (10). ``sink=`` receives ``Progress``
    events.
    """
    response: Response = sync_stream.run_call(_plan_result(id, options))
    return response


async def aresult(id: str | Response, **options: Unpack[ResultOptions]) -> Response:
    """``result`` for asynchronous code.

    Examples:
        >>> import asyncio
        >>> started = aquila.research.create("How high do eagles fly?")
        >>> asyncio.run(aquila.research.aresult(started, timeout=600, poll_interval=0)).text
        'Eagles reach 4,000 metres.'
    """
    response: Response = await async_stream.run_call_async(_plan_result(id, options))
    return response


def _plan_research(prompt: Prompt, response_format: Any, options: Mapping[str, Any]) -> CallPlan:
    return call_plan.plan_conversation(prompt, _research_options(response_format, options), waits=False)


def _plan_result(id: str | Response, options: Mapping[str, Any]) -> CallPlan:
    given = {"poll_interval": _POLL_INTERVAL, **options}
    timeout = given.get("timeout")
    if timeout is not None and not isinstance(timeout, timeouts.Timeouts):
        given["timeout"] = timeouts.Timeouts(total=timeout)
    return stored_answers.plan_waiting(id, given)


def _research_options(response_format: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    if options.get("endpoint", "responses") != "responses":
        raise ConfigError("research is for endpoint='responses'")
    if options.get("background") is False:
        raise ConfigError("research is made in the background; remove background=False")
    toolbox = make_toolbox(options.get("tools") or ())
    tools: list[Any] = [*toolbox.tools.values(), *toolbox.built_in]
    if not any(name.startswith(_SOURCES) for name in toolbox.built_in_names()):
        tools.append(_SEARCH)
    fixed = {"endpoint": "responses", "background": True, "tools": tools, "response_format": response_format}
    return {"model": MODEL, **options, **fixed}
