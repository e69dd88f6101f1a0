"""The hooks that a plugin may implement, as pluggy specifications.

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

PROJECT = "aquila"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@dataclass(frozen=True, slots=True)
class CallInfo:
    """The description of a call that telemetry hooks receive.

    - ``ref``: identifies the call.
    - ``operation``: ``chat``, ``responses``, ``transcription``, ``retrieve_response``, ``cancel_response``,
      ``delete_response`` or ``research.result``.
    - ``model``: empty if the request names none.
    - ``transport``, ``base_url``: the name of the transport, and the base URL of the provider.
    - ``options``: settings such as ``temperature``, without any content of the prompt.
    - ``metadata``: what the caller gave as ``metadata=``.

    Examples:
        >>> class Names:
        ...     @aquila.hookspecs.hookimpl
        ...     def aquila_call_start(self, call):
        ...         print(call.operation, call.options["temperature"], call.metadata)
        >>> names = aquila.register(Names())
        >>> reply = aquila.ask("How do eagles fly so far?", temperature=0, metadata={"job": 7})
        chat 0 {'job': 7}
        >>> aquila.unregister(names)
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
    """The description of the answer to one request that telemetry hooks receive.

    ``id``, ``model`` and ``finish_reason`` are the provider's, None if it named none. ``usage`` has the tokens.

    Examples:
        >>> class Reasons:
        ...     @aquila.hookspecs.hookimpl
        ...     def aquila_request_stop(self, answer):
        ...         print(answer.finish_reason, answer.usage.total_tokens)
        >>> reasons = aquila.register(Reasons())
        >>> reply = aquila.ask("How do eagles fly so far?")
        stop 7
        >>> aquila.unregister(reasons)
    """

    id: str | None
    model: str | None
    finish_reason: str | None
    usage: Usage


@hookspec
def aquila_transports() -> Mapping[str, Callable[[], Any]]:
    """Return a factory of an httpx2 transport for each name. ``AQUILA_TRANSPORT`` then accepts these names."""
    return {}


@hookspec
def aquila_codecs() -> Sequence[Any]:
    """Return codecs of cassette files (``aquila.cassettes.Codec``).

    Examples:
        >>> from aquila.cassettes import Cassette
        >>> class Forgetful:
        ...     suffix = ".nothing"
        ...     def dumps(self, cassette: Cassette) -> bytes:
        ...         return b""
        ...     def loads(self, data: bytes, *, source: str) -> Cassette:
        ...         return Cassette()
        >>> class Formats:
        ...     @aquila.hookspecs.hookimpl
        ...     def aquila_codecs(self):
        ...         return [Forgetful()]
        >>> formats = aquila.register(Formats())    # it reads and writes cassettes such as "name.nothing"
        >>> aquila.unregister(formats)
    """
    return ()


@hookspec
def aquila_redactors() -> Sequence[Callable[[str], str]]:
    """Return functions that take a text and return it without secrets. They run in addition to the built-in ones."""
    return ()


@hookspec(firstresult=True)
def aquila_key(request: RecordedRequest) -> Any:
    """Return a JSON-able value that identifies the request instead of its content, or None to use its content."""


@hookspec
def aquila_call_start(call: CallInfo) -> None:
    """A call begins: one ``ask``, ``stream`` or similar function, with all its requests and tools.

    Examples:
        >>> class Starts:
        ...     @aquila.hookspecs.hookimpl
        ...     def aquila_call_start(self, call):
        ...         print("asking", call.operation)
        >>> starts = aquila.register(Starts())
        >>> reply = aquila.ask("How do eagles fly so far?")
        asking chat
        >>> aquila.unregister(starts)
    """


@hookspec
def aquila_request_start(call: CallInfo, request: Mapping[str, Any], turn: int) -> None:
    """A request is about to be sent. ``request`` holds the SDK method's arguments; ``turn`` counts from 1.

    Examples:
        >>> class Requests:
        ...     @aquila.hookspecs.hookimpl
        ...     def aquila_request_start(self, request, turn):
        ...         print("turn", turn, "with", len(request["messages"]), "messages")
        >>> requests = aquila.register(Requests())
        >>> reply = aquila.ask("How do eagles fly so far?", instructions="Be brief.")
        turn 1 with 2 messages
        >>> aquila.unregister(requests)
    """


@hookspec
def aquila_chunk(call: CallInfo, event: Event) -> None:
    """A part of the answer has arrived: text, reasoning, refusal, progress, usage.

    Examples:
        >>> class Pieces:
        ...     count = 0
        ...     @aquila.hookspecs.hookimpl
        ...     def aquila_chunk(self, event):
        ...         self.count += isinstance(event, aquila.Chunk)
        >>> pieces = aquila.register(Pieces())
        >>> reply = aquila.ask("How do eagles fly so far?")
        >>> pieces.count
        6
        >>> aquila.unregister(pieces)
    """


@hookspec
def aquila_request_stop(
    call: CallInfo, turn: int, answer: AnswerInfo | None, error: BaseException | None, seconds: float
) -> None:
    """A request has ended: with an ``answer``, with an ``error``, or with neither.

    It ends with neither if the caller left it early, if the answer is not finished yet and will be fetched again, or if
    the request was for a transcription or a deletion.
    """


@hookspec
def aquila_retry(call: CallInfo, event: Retry) -> None:
    """A request failed and will be sent again after ``event.delay`` seconds.

    Examples:
        >>> from aquila.testing import use_script
        >>> class Retries:
        ...     @aquila.hookspecs.hookimpl
        ...     def aquila_retry(self, call, event):
        ...         print(type(event.error).__name__, "in attempt", event.attempt)
        >>> retries = aquila.register(Retries())
        >>> with use_script() as script:
        ...     _ = script.error(503).reply("Eagles soar.")
        ...     reply = aquila.ask("How do eagles fly?")
        ProviderUnavailable in attempt 1
        >>> aquila.unregister(retries)
    """


@hookspec
def aquila_tool_call(call: CallInfo, event: ToolCall) -> None:
    """A tool that the model called is about to run.

    Examples:
        >>> class Tools:
        ...     @aquila.hookspecs.hookimpl
        ...     def aquila_tool_call(self, event):
        ...         print(event.name, event.arguments)
        >>> tools = aquila.register(Tools())
        >>> def weather(city: str, days: int = 1) -> str:
        ...     return f"fine in {city}"
        >>> reply = aquila.ask("What is the weather in Ulm?", tools=[weather])
        weather {'city': 'Ulm', 'days': 2}
        >>> aquila.unregister(tools)
    """


@hookspec
def aquila_tool_result(call: CallInfo, event: ToolResult, seconds: float) -> None:
    """A tool has ended, after ``seconds``.

    Examples:
        >>> class Tools:
        ...     @aquila.hookspecs.hookimpl
        ...     def aquila_tool_result(self, event, seconds):
        ...         print(event.name, event.value, seconds < 60)
        >>> tools = aquila.register(Tools())
        >>> def weather(city: str, days: int = 1) -> str:
        ...     return f"fine in {city}"
        >>> reply = aquila.ask("What is the weather in Ulm?", tools=[weather])
        weather fine in Ulm True
        >>> aquila.unregister(tools)
    """


@hookspec
def aquila_call_stop(call: CallInfo, result: Any, error: BaseException | None, seconds: float) -> None:
    """A call has ended: with a ``result``, with an ``error``, or with neither if the caller left it early.

    The ``result`` is the ``Response`` of the call, what ``transcribe`` returns, or True for a deletion.

    Examples:
        >>> class Costs:
        ...     @aquila.hookspecs.hookimpl
        ...     def aquila_call_stop(self, call, result, error):
        ...         print(call.metadata["job"], result.usage.total_tokens if result else error)
        >>> costs = aquila.register(Costs())
        >>> reply = aquila.ask("How do eagles fly so far?", metadata={"job": 7})
        7 7
        >>> aquila.unregister(costs)
    """
