"""What a plugin may hook into, as pluggy specifications.

A plugin is a class or module with some of these functions, marked ``@aquila.hookspecs.hookimpl``. It is registered with
``aquila.register(plugin)``, or by a package through an entry point of the group ``aquila``::

    [project.entry-points.aquila]
    my_plugin = "my_package.aquila_plugin"

An implementation names only the arguments that it needs. An exception in a telemetry hook is logged to the logger
``aquila`` and the call goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from aquila.cassettes.model import RecordedRequest
    from aquila.events import Event, Retry, ToolCall, ToolResult, Usage
    from aquila.response import Response

PROJECT = "aquila"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@dataclass(frozen=True, slots=True)
class CallInfo:
    """What telemetry hooks are told about a call.

    ``ref`` identifies the call, ``operation`` is ``chat``, ``responses``, ``transcription``, ``retrieve_response``,
    ``cancel_response``, ``delete_response`` or ``research.result``; ``model`` is empty where none is asked for,
    ``options`` are settings such as ``temperature``, without any prompt content, ``metadata`` is what the caller gave.
    """

    ref: str
    operation: str
    model: str
    transport: str = ""
    base_url: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AnswerInfo:
    """What telemetry hooks are told about the answer of one request."""

    id: str | None
    model: str | None
    finish_reason: str | None
    usage: Usage


@hookspec
def aquila_transports() -> Mapping[str, Callable[[], Any]]:
    """Return transports by name, each as a factory of an httpx2 transport. ``AQUILA_TRANSPORT`` then takes the name."""
    return {}


@hookspec
def aquila_codecs() -> Sequence[Any]:
    """Return codecs of cassette files (``aquila.cassettes.Codec``)."""
    return ()


@hookspec
def aquila_redactors() -> Sequence[Callable[[str], str]]:
    """Return functions from text to text that take secrets out. They come on top of the built-in ones."""
    return ()


@hookspec(firstresult=True)
def aquila_key(request: RecordedRequest) -> Any:
    """Return a JSON-able value that identifies the request in place of its own content, or None to leave it alone."""


@hookspec
def aquila_call_start(call: CallInfo) -> None:
    """A call begins: one ``ask``, ``stream`` or their like, with all its requests and tools."""


@hookspec
def aquila_request_start(call: CallInfo, request: Mapping[str, Any], turn: int) -> None:
    """A request is about to be sent. ``request`` holds the SDK method's arguments; ``turn`` counts from 1."""


@hookspec
def aquila_chunk(call: CallInfo, event: Event) -> None:
    """An event other than those with a hook of their own has arrived: text, reasoning, progress, usage."""


@hookspec
def aquila_request_stop(
    call: CallInfo, turn: int, answer: AnswerInfo | None, error: BaseException | None, seconds: float
) -> None:
    """A request has ended: with an ``answer``, with an ``error``, or with neither.

    With neither if the caller left it early, or if the answer is not finished yet and will be fetched again.
    """


@hookspec
def aquila_retry(call: CallInfo, event: Retry) -> None:
    """A request failed and will be sent again after ``event.delay`` seconds."""


@hookspec
def aquila_tool_call(call: CallInfo, event: ToolCall) -> None:
    """The model called a tool."""


@hookspec
def aquila_tool_result(call: CallInfo, event: ToolResult, seconds: float) -> None:
    """A tool has ended, after ``seconds``."""


@hookspec
def aquila_call_stop(call: CallInfo, response: Response | None, error: BaseException | None, seconds: float) -> None:
    """A call has ended: with a ``response``, with an ``error``, or with neither if the caller left it early."""
