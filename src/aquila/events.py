"""What a stream yields: small frozen records, one class for each kind of event.

Every event carries the ``ref`` of its call and the caller's ``metadata``. Neither takes part in comparing events, so
``Chunk("Hello")`` equals a chunk with that text of any call.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aquila.response import Response


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Base of every event. ``ref`` identifies the call, ``metadata`` is what the caller gave it.

    Examples:
        >>> events = list(aquila.stream("How do eagles fly so far?", metadata={"job": 7}))
        >>> all(isinstance(event, aquila.Event) and event.metadata["job"] == 7 for event in events)
        True
        >>> len({event.ref for event in events})
        1
    """

    ref: str = field(default="", compare=False, repr=False)
    metadata: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Chunk(Event):
    """A piece of the answer's text.

    Examples:
        >>> stream = aquila.stream("How do eagles fly so far?")
        >>> [event.text for event in stream if isinstance(event, aquila.Chunk)][:2]
        ['Eagles ', 'circle ']
    """

    text: str


@dataclass(frozen=True, slots=True)
class Reasoning(Event):
    """A piece of the model's reasoning, or of its summary, where the provider shows it.

    Examples:
        >>> stream = aquila.stream("Please think: how do eagles fly?")
        >>> [event.text for event in stream if isinstance(event, aquila.Reasoning)]
        ['Rising air carries.']
    """

    text: str


@dataclass(frozen=True, slots=True)
class Refusal(Event):
    """A piece of the text with which the model declines to answer.

    Examples:
        >>> from aquila.testing import use_script
        >>> with use_script() as script:
        ...     _ = script.refuse("I would rather not.")
        ...     events = list(aquila.stream("Something bad"))
        >>> "".join(event.text for event in events if isinstance(event, aquila.Refusal))
        'I would rather not.'
    """

    text: str


@dataclass(frozen=True, slots=True)
class ToolCall(Event):
    """The model calls a tool.

    ``arguments`` are the decoded arguments, or None where they are not a JSON object; ``raw_arguments`` is the text
    that the model wrote.

    Examples:
        >>> def weather(city: str, days: int = 1) -> str:
        ...     return f"fine in {city}"
        >>> stream = aquila.stream("What is the weather in Ulm?", tools=[weather])
        >>> [(event.name, event.arguments) for event in stream if isinstance(event, aquila.ToolCall)]
        [('weather', {'city': 'Ulm', 'days': 2})]
    """

    id: str
    name: str
    arguments: Mapping[str, Any] | None
    raw_arguments: str = "{}"


@dataclass(frozen=True, slots=True)
class ToolResult(Event):
    """The result of a tool. A tool may also return one, to say more than a value.

    ``value`` is the result; ``error`` says, for the model, why there is none; ``context_patch`` updates the context of
    the tool calls that follow. The engine fills in ``id`` and ``name`` of the call, and ``text``, which is sent to the
    model.

    Examples:
        >>> def weather(city: str, days: int = 1) -> aquila.ToolResult:
        ...     return aquila.ToolResult(error=f"no weather for {city}")
        >>> stream = aquila.stream("What is the weather in Ulm?", tools=[weather])
        >>> [(event.name, event.error) for event in stream if isinstance(event, aquila.ToolResult)]
        [('weather', 'no weather for Ulm')]
    """

    value: Any = None
    error: str | None = field(default=None, kw_only=True)
    context_patch: Mapping[str, Any] | None = field(default=None, kw_only=True)
    id: str = field(default="", kw_only=True)
    name: str = field(default="", kw_only=True)
    text: str = field(default="", kw_only=True)


@dataclass(frozen=True, slots=True)
class Progress(Event):
    """A step of the provider: a built-in tool starts or ends, or a background answer is queued.

    ``kind`` is the provider's name of the step (``web_search_call``), ``status`` its state (``in_progress``),
    ``detail`` the other fields that the provider sent.

    Examples:
        >>> stream = aquila.research.stream("How high do eagles fly?")
        >>> [event.kind for event in stream if isinstance(event, aquila.Progress) and event.status == "done"]
        ['web_search_call']
    """

    kind: str
    status: str
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Retry(Event):
    """A request will be sent again. ``attempt`` counts from 1, ``delay`` is in seconds, ``error`` is the failure.

    Examples:
        >>> from aquila.testing import use_script
        >>> with use_script() as script:
        ...     _ = script.error(429, retry_after=0).reply("Eagles soar.")
        ...     events = list(aquila.stream("How do eagles fly?"))
        >>> [(event.attempt, type(event.error).__name__) for event in events if isinstance(event, aquila.Retry)]
        [(1, 'RateLimited')]
    """

    attempt: int
    delay: float
    error: BaseException = field(compare=False)


@dataclass(frozen=True, slots=True)
class Usage(Event):
    """Tokens of one request, or, in ``Response.usage``, of all requests of a call.

    ``cached_tokens`` are part of the input, ``reasoning_tokens`` part of the output. ``reported`` is False if
    the provider sent no counts; they are then 0.

    Examples:
        >>> first, second = (aquila.ask(f"How do {bird} fly?").usage for bird in ("eagles", "storks"))
        >>> (first + second).total_tokens
        14
    """

    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    reported: bool = True

    def __add__(self, other: Usage) -> Usage:
        """Return the sum of two usages. It counts as ``reported`` if at least one of them does.

        Its ``ref`` and ``metadata`` are those of the first.
        """
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            total_tokens=self.total_tokens + other.total_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            reasoning_tokens=self.reasoning_tokens + other.reasoning_tokens,
            reported=self.reported or other.reported,
            ref=self.ref,
            metadata=self.metadata,
        )


@dataclass(frozen=True, slots=True)
class Done(Event):
    """The call is complete. ``response`` is what ``ask`` would have returned.

    Examples:
        >>> *events, last = aquila.stream("How do eagles fly so far?")
        >>> isinstance(last, aquila.Done), last.response.text
        (True, 'Eagles circle in rising warm air.')
    """

    response: Response = field(repr=False)


@dataclass(frozen=True, slots=True)
class Failed(Event):
    """The call failed. Only sinks receive this event; iterating over a stream raises ``error`` instead.

    Examples:
        >>> from aquila.testing import use_script
        >>> kept = aquila.Sink.collector()
        >>> with use_script() as script:
        ...     _ = script.error(401)
        ...     try:
        ...         aquila.ask("How do eagles fly?", sink=kept)
        ...     except aquila.errors.AuthenticationError:
        ...         pass
        >>> isinstance(kept.events[-1], aquila.Failed), kept.events[-1].error.status
        (True, 401)
    """

    error: BaseException = field(compare=False)
