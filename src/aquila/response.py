"""The answer of a call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic

from aquila.events import ToolCall, Usage

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    from aquila.messages import Message

    ParsedT_co = TypeVar("ParsedT_co", covariant=True, default=Any)
else:
    from typing import TypeVar

    ParsedT_co = TypeVar("ParsedT_co", covariant=True)  # `typing` has defaults of type variables since Python 3.13


@dataclass(frozen=True, slots=True)
class Response(Generic[ParsedT_co]):
    """The complete answer of ``ask`` or of a finished stream.

    - ``text``: the text of the final turn.
    - ``usage``: tokens, summed over all requests of the call.
    - ``meta``: ``ref``, ``model``, ``endpoint``, ``finish_reason``, ``id`` (of the answer), ``request_id``,
      ``metadata``, ``transport``, ``turns`` (answers of the provider), ``retries``, and ``stopped``: why a tool loop
      was ended early, or None.
    - ``raw``: the provider's answer as a JSON-able dict: a ``chat.completion``, or a Responses API ``response``.
    - ``messages``: the whole conversation, tool calls and results included; can be passed to the next call. The
      ``instructions`` option is not in it.
    - ``reasoning``, ``refusal``: text of the model's reasoning, and of its refusal; empty if there is none.
    - ``tool_calls``: the tool calls of all turns.
    - ``parsed``: with a pydantic model as ``response_format=``, an instance of that model; None if the answer was
      refused or cut off. ``Response[Model]`` is then the type of the answer.

    Examples:
        >>> reply = aquila.ask("How do eagles fly so far?", metadata={"job": 7})
        >>> reply.text
        'Eagles circle in rising warm air.'
        >>> reply.usage.total_tokens, reply.meta["finish_reason"], reply.meta["metadata"]["job"]
        (7, 'stop', 7)
        >>> aquila.ask([*reply.messages, "And storks?"]).meta["turns"]
        1
    """

    text: str
    usage: Usage = field(default_factory=lambda: Usage(reported=False))
    meta: Mapping[str, Any] = field(default_factory=dict)
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)
    messages: tuple[Message, ...] = field(default=(), repr=False)
    reasoning: str = field(default="", repr=False)
    refusal: str = ""
    tool_calls: tuple[ToolCall, ...] = field(default=(), repr=False)
    parsed: ParsedT_co | None = None

    def __str__(self) -> str:
        """The text."""
        return self.text


@dataclass(frozen=True, slots=True)
class Transcription:
    """The text of recorded speech.

    ``text`` is the whole text, or the requested subtitles. ``language``, ``duration`` (seconds) and ``segments``
    are set if the format has them. ``raw`` is the provider's answer: a dict, or text.

    Examples:
        >>> said = aquila.transcribe(b"RIFF....WAVE", filename="morning.wav")
        >>> said.text, said.language, said.segments
        ('Good morning.', None, ())
    """

    text: str
    language: str | None = None
    duration: float | None = None
    segments: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)
    raw: Any = field(default=None, repr=False)
    meta: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        """The text."""
        return self.text
