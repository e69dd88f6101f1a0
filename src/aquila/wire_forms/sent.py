"""A request for a model, in one form for all providers."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aquila.cassettes.model import Headers, RecordedRequest
from aquila.json_fields import mapping, mappings, string


@dataclass(frozen=True, slots=True)
class SentToolCall:
    """A tool call in a message. ``arguments`` is a JSON value, or the text if it is not valid JSON.

    Examples:
        >>> from aquila.testing import use_script
        >>> def weather(city: str) -> str:
        ...     return f"fine in {city}"
        >>> with use_script() as script:
        ...     _ = script.tool_call("weather", city="Ulm").reply("Fine.")
        ...     reply = aquila.ask("The weather in Ulm?", tools=[weather])
        >>> call = script.requests[1].messages[1].tool_calls[0]
        >>> call.name, call.arguments
        ('weather', {'city': 'Ulm'})
    """

    name: str
    arguments: Any = None
    id: str | None = None


@dataclass(frozen=True, slots=True)
class SentMessage:
    """A message of a conversation.

    ``role`` is ``system``, ``developer``, ``user``, ``assistant`` or ``tool``. ``text`` is the text of its content,
    without other parts; for a tool message it is the result. ``tool_call_id`` is the id of the call that a result
    answers, None if the wire form has no such ids. ``parts`` names its other parts: ``image``, ``audio``, ``file``.

    Examples:
        >>> from aquila.testing import use_script
        >>> with use_script() as script:
        ...     _ = script.reply("Eagles soar.")
        ...     reply = aquila.ask("How do eagles fly?", instructions="Be brief.")
        >>> [(message.role, message.text) for message in script.requests[0].messages]
        [('system', 'Be brief.'), ('user', 'How do eagles fly?')]
    """

    role: str
    text: str = ""
    tool_calls: tuple[SentToolCall, ...] = ()
    tool_call_id: str | None = None
    parts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SentTool:
    """A tool that is offered. ``parameters`` is the JSON schema of its arguments.

    Examples:
        >>> from aquila.testing import use_script
        >>> def weather(city: str) -> str:
        ...     "Tell the weather."
        ...     return f"fine in {city}"
        >>> with use_script() as script:
        ...     _ = script.reply("I do not know.")
        ...     reply = aquila.ask("The weather in Ulm?", tools=[weather])
        >>> [(tool.name, tool.description) for tool in script.requests[0].tools]
        [('weather', 'Tell the weather.')]
    """

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SentRequest:
    """A request as the client sent it.

    ``form`` is the name of its wire form, empty if that is not known. ``model`` is the name that the caller gave.
    ``raw`` is the JSON value of the body, None for another body. ``http`` is the request itself.

    Examples:
        >>> from aquila.testing import use_script
        >>> with use_script() as script:
        ...     _ = script.reply("Eagles soar.")
        ...     reply = aquila.ask("How do eagles fly?", model="gpt-4.1-mini", temperature=0)
        >>> sent = script.requests[0]
        >>> sent.model, sent.text, sent.is_streamed, sent.raw["temperature"]
        ('gpt-4.1-mini', 'How do eagles fly?', True, 0)
    """

    form: str
    model: str = ""
    messages: tuple[SentMessage, ...] = ()
    tools: tuple[SentTool, ...] = ()
    is_streamed: bool = False
    raw: Any = field(default=None, repr=False)
    http: RecordedRequest = field(default=RecordedRequest("", ""), repr=False, compare=False)

    @property
    def method(self) -> str:
        """The HTTP method."""
        return self.http.method

    @property
    def url(self) -> str:
        """The whole URL."""
        return self.http.url

    @property
    def headers(self) -> Headers:
        """The header fields, names in lower case."""
        return self.http.headers

    @property
    def body(self) -> bytes:
        """The bytes of the body."""
        return self.http.body

    def first_header(self, name: str) -> str:
        """Return the first value of a header, or an empty string. ``name`` is in lower case."""
        return self.http.first_header(name)

    @property
    def text(self) -> str:
        """The texts of all messages, joined by line breaks."""
        return "\n".join(message.text for message in self.messages)


def read_json(request: RecordedRequest) -> Any:
    """Return the JSON value of a request's body, None for a body that is not JSON. See ``parse_json`` for numbers."""
    try:
        return parse_json(request.body)
    except (ValueError, RecursionError):
        return None


def parse_json(data: bytes) -> Any:
    """Return a JSON value that JSON can hold again: a number such as ``NaN`` or ``1e999`` is None.

    Raises ``ValueError`` for what is not JSON, and ``RecursionError`` for a value that is nested too deeply.
    """
    return json.loads(data, parse_float=_read_number, parse_constant=_read_number)


def _read_number(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None


def read_arguments(text: Any) -> Any:
    """Return the arguments of a tool call as a JSON value, or unchanged if they are not valid JSON."""
    if not isinstance(text, str):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def text_of(content: Any) -> str:
    """Return the text of a message's content: a string, or a list of parts with ``text``."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    texts = [part if isinstance(part, str) else part.get("text") for part in content if isinstance(part, (str, dict))]
    return "".join(text for text in texts if isinstance(text, str))


def parts_of(content: Any, kinds: Mapping[str, str]) -> tuple[str, ...]:
    """Return the kinds of parts in a message's content. ``kinds`` maps the ``type`` of a part to its kind."""
    found = (kinds.get(string(part.get("type"))) for part in mappings(content))
    return tuple(kind for kind in found if kind)


def read_tool(tool: Mapping[str, Any], schema: str) -> SentTool:
    """Return a tool; one without a name is named by its type. ``schema`` is the field with its JSON schema."""
    name = string(tool.get("name")) or string(tool.get("type"))
    return SentTool(name, string(tool.get("description")), mapping(tool.get(schema)))
