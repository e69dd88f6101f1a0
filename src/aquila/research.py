"""Deep research: answers that take a model minutes, with sources from the web.

``create`` starts one in the background, ``fetch`` looks at it, ``result`` waits for its end, ``cancel`` stops it;
``stream`` starts one and yields its progress as it happens. Each has an asynchronous twin whose name begins with ``a``.
The options are those of ``ask`` on the Responses API. A web search tool is added where no tool brings sources, and the
model is a deep research model unless ``model=`` says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aquila.errors import ConfigError
from aquila.response import Response
from aquila.tools import make_toolbox

if TYPE_CHECKING:
    from aquila.engine.calls.call_plan import CallPlan
    from aquila.engine.streams.async_stream import AsyncStream
    from aquila.engine.streams.sync_stream import Stream

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
"""The model of a research that names none."""

_SEARCH = {"type": "web_search_preview"}
_SOURCES = ("web_search", "web_search_preview", "file_search", "mcp")


def create(prompt: Any, **options: Any) -> Response:
    """Start a research and return at once; ``reply.meta["id"]`` is what the other functions take."""
    from aquila.engine.streams.sync_stream import run_call

    response: Response = run_call(_plan_research(prompt, options))
    return response


async def acreate(prompt: Any, **options: Any) -> Response:
    """``create`` for asynchronous code."""
    from aquila.engine.streams.async_stream import run_call_async

    response: Response = await run_call_async(_plan_research(prompt, options))
    return response


def stream(prompt: Any, **options: Any) -> Stream:
    """Start a research and return the ``Stream`` of its events; ``Progress`` events tell what it searches and reads.

    If the stream breaks, the research goes on, and the rest of its answer is fetched.
    """
    from aquila.engine.streams.sync_stream import open_stream

    return open_stream(prompt, _research_options(options))


def astream(prompt: Any, **options: Any) -> AsyncStream:
    """``stream`` for asynchronous code."""
    from aquila.engine.streams.async_stream import open_async_stream

    return open_async_stream(prompt, _research_options(options))


def fetch(id: str | Response, **options: Any) -> Response:
    """Return a research as it is now; ``finish_reason`` is ``queued`` or ``in_progress`` while it runs."""
    from aquila.api import retrieve_response

    return retrieve_response(id, **options)


async def afetch(id: str | Response, **options: Any) -> Response:
    """``fetch`` for asynchronous code."""
    from aquila.api import aretrieve_response

    return await aretrieve_response(id, **options)


def cancel(id: str | Response, **options: Any) -> Response:
    """Stop a research and return it as it is then."""
    from aquila.api import cancel_response

    return cancel_response(id, **options)


async def acancel(id: str | Response, **options: Any) -> Response:
    """``cancel`` for asynchronous code."""
    from aquila.api import acancel_response

    return await acancel_response(id, **options)


def result(id: str | Response, *, timeout: float | None = None, **options: Any) -> Response:
    """Wait until a research has ended and return it.

    ``timeout`` is the longest wait in seconds, None no limit; ``RequestTimeout`` afterwards, and the research goes on.
    ``poll_interval`` is the time between two looks (10 s). ``sink=`` is handed ``Progress`` events.
    """
    from aquila.engine.streams.sync_stream import run_call

    response: Response = run_call(_plan_result(id, timeout, options))
    return response


async def aresult(id: str | Response, *, timeout: float | None = None, **options: Any) -> Response:
    """``result`` for asynchronous code."""
    from aquila.engine.streams.async_stream import run_call_async

    response: Response = await run_call_async(_plan_result(id, timeout, options))
    return response


def _plan_research(prompt: Any, options: Mapping[str, Any]) -> CallPlan:
    from aquila.engine.calls.call_plan import plan_conversation

    return plan_conversation(prompt, _research_options(options), waits=False)


def _plan_result(id: str | Response, timeout: float | None, options: Mapping[str, Any]) -> CallPlan:
    from aquila.engine.calls.operations import plan_retrieval
    from aquila.engine.calls.options import Timeouts

    given: dict[str, Any] = {"poll_interval": 10.0, **options}
    if timeout is not None:
        given["timeout"] = Timeouts(total=timeout)
    return plan_retrieval("research.result", id, given, path="responses.retrieve", waits=True)


def _research_options(options: Mapping[str, Any]) -> dict[str, Any]:
    if options.get("endpoint", "responses") != "responses":
        raise ConfigError("research is for endpoint='responses'")
    if options.get("background") is False:
        raise ConfigError("research is made in the background; remove background=False")
    make_toolbox(options.get("tools") or ())  # which says what is wrong with them
    tools = list(options.get("tools") or ())
    kinds = [tool.get("type") if isinstance(tool, Mapping) else tool for tool in tools]
    if not any(kind in _SOURCES for kind in kinds):
        tools.append(_SEARCH)
    return {"model": MODEL, **options, "endpoint": "responses", "background": True, "tools": tools}
