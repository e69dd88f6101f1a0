"""Messages of a conversation, and all forms in which a caller may write them.

The wire forms of the two endpoints live with their adapters; ``Message.to_dict`` is the form that is neutral
between them, JSON-able and reversible.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from aquila.content import Audio, File, Image, Part, Text, part_from
from aquila.errors import InvalidMessage
from aquila.spelling import suggest_name

Role: TypeAlias = Literal["system", "developer", "user", "assistant", "tool"]
"""The role of a message.

Examples:
    >>> def say(role: aquila.Role, text: str) -> aquila.Message:
    ...     return aquila.Message(role, text)
    >>> aquila.ask([say("system", "You know birds."), say("user", "Eagles?")]).text
    'Eagles circle in rising warm air.'
"""
ROLES: tuple[str, ...] = get_args(Role)


@dataclass(frozen=True, slots=True)
class AssistantToolCall:
    """A tool call as a part of a conversation: ``arguments`` is the text that the model wrote.

    ``extra`` holds JSON-able fields that only the provider understands and expects back (``extra_content`` of Gemini).

    Examples:
        >>> call = aquila.AssistantToolCall("call_1", "weather", '{"city": "Ulm"}')
        >>> aquila.Message("assistant", calls=(call,)).calls[0].name
        'weather'
    """

    id: str
    name: str
    arguments: str
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Message:
    """One message.

    ``content`` is text or a tuple of parts. A part, or a list of texts and parts, becomes a tuple; None becomes "".
    ``calls`` are the tool calls of an assistant message; a list becomes a tuple. ``call_id`` is the id of the call that
    a tool message answers, ``name`` is an optional name of the author. ``extra`` holds JSON-able fields that only the
    provider understands and expects back (``{"output": [...]}`` are the items of a Responses answer).

    Examples:
        >>> first = aquila.ask([aquila.Message("system", "You know birds."), aquila.Message("user", "Eagles?")])
        >>> first.messages[-1].role, first.messages[-1].text
        ('assistant', 'Eagles circle in rising warm air.')
    """

    role: Role
    content: str | tuple[Part, ...] = ""
    name: str | None = None
    calls: tuple[AssistantToolCall, ...] = ()
    call_id: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False, repr=False)

    if TYPE_CHECKING:  # the arguments `content` and `calls` may be of more types than the attributes

        def __init__(
            self,
            role: Role,
            content: Content | None = "",
            name: str | None = None,
            calls: Iterable[AssistantToolCall] = (),
            call_id: str | None = None,
            extra: Mapping[str, Any] = ...,
        ) -> None: ...

    def __post_init__(self) -> None:
        if type(self.calls) is not tuple:
            object.__setattr__(self, "calls", _tool_calls_from(self.calls))
        if self.role not in ROLES:
            raise InvalidMessage(f"unknown role {self.role!r} of a message{suggest_name(str(self.role), ROLES)}")
        if self.role == "tool" and not self.call_id:
            raise InvalidMessage("a message of role 'tool' needs call_id=, the id of the tool call that it answers")
        if self.calls and self.role != "assistant":
            raise InvalidMessage(f"only an assistant message has tool calls, not one of role {self.role!r}")
        if not isinstance(self.content, str):  # as callers write it: a list, with texts among the parts
            object.__setattr__(self, "content", _content_from(self.content))

    @property
    def text(self) -> str:
        """The text of the content, without parts of other kinds."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content if isinstance(part, Text))

    def to_dict(self) -> dict[str, Any]:
        """Return the message as JSON-able values, from which ``message_from`` makes an equal message."""
        result: dict[str, Any] = {"role": self.role}
        if isinstance(self.content, str):
            result["content"] = self.content
        else:
            result["content"] = [part_to_dict(part) for part in self.content]
        if self.name is not None:
            result["name"] = self.name
        if self.calls:
            result["tool_calls"] = [call_to_dict(call) for call in self.calls]
        if self.call_id is not None:
            result["tool_call_id"] = self.call_id
        if self.extra:
            result["extra"] = dict(self.extra)
        return result


PartLike: TypeAlias = str | Part | Mapping[str, Any]
Content: TypeAlias = str | Part | Mapping[str, Any] | Iterable[PartLike]
MessageLike: TypeAlias = str | Part | Message | Mapping[str, Any] | tuple[str, Content]
"""A message as a caller may write it; the mapping is a message or a content part, the tuple is role and content.

Examples:
    >>> history: list[aquila.MessageLike] = [("system", "You know birds.")]
    >>> history.append("Eagles?")
    >>> aquila.ask(history).text
    'Eagles circle in rising warm air.'
"""
# `MessageLike` is repeated here, and `Collection` stands for `Iterable`: with the shorter forms mypy does not accept a
# tuple as role and content.
Prompt: TypeAlias = (
    str | Part | Message | Mapping[str, Any] | tuple[str, Content] | Collection[MessageLike] | Iterator[MessageLike]
)
"""What ``ask`` and ``stream`` take: a message, or several.

Examples:
    >>> def ask_an_expert(prompt: aquila.Prompt) -> str:
    ...     return aquila.ask(prompt, instructions="You know birds.").text
    >>> ask_an_expert("How do eagles fly so far?")
    'Eagles circle in rising warm air.'
    >>> ask_an_expert([("user", "Hello"), {"role": "assistant", "content": "Hi!"}, aquila.Message("user", "Eagles?")])
    'Eagles circle in rising warm air.'
"""


def part_to_dict(part: Part) -> dict[str, Any]:
    """Return a part in the form of the chat API."""
    match part:
        case Text(text):
            return {"type": "text", "text": text}
        case Image(url, detail):
            return {"type": "image_url", "image_url": {"url": url} | ({"detail": detail} if detail else {})}
        case File(filename, data, file_id, url):
            fields = {"filename": filename, "file_data": data, "file_id": file_id, "file_url": url}
            return {"type": "file", "file": {key: value for key, value in fields.items() if value is not None}}
        case Audio():
            return {"type": "input_audio", "input_audio": asdict(part)}


def call_to_dict(call: AssistantToolCall) -> dict[str, Any]:
    """Return a tool call in the form of the chat API."""
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function, **call.extra}


def messages_from_prompt(prompt: Any) -> tuple[Message, ...]:
    """Return the messages of a prompt.

    ``prompt`` is a string, a message in any of its forms (``Message``, dict, ``(role, content)``), a content part, or
    an iterable of these; strings and parts become user messages. Raises ``InvalidMessage`` if nothing is left to send.
    """
    if _is_single_message(prompt):
        messages: tuple[Message, ...] = (message_from(prompt),)
    elif isinstance(prompt, Iterable) and not isinstance(prompt, (bytes, bytearray, Mapping)):
        messages = tuple(map(message_from, prompt))
    else:
        raise InvalidMessage(f"a prompt is text, a message or a list of messages, not {type(prompt).__name__}")
    if not messages:
        raise InvalidMessage("the prompt is empty; give text or at least one message")
    for number, each in enumerate(messages):
        # A message of the assistant may be empty, because the model refused or was cut off while it was reasoning.
        if each.role not in ("tool", "assistant") and not each.extra and _is_blank(each.content):
            where = "the prompt" if len(messages) == 1 else f"message {number} ({each.role})"
            raise InvalidMessage(f"{where} is empty; give text or at least one content part")
    return messages


def _is_single_message(value: Any) -> bool:
    if isinstance(value, (str, Message, Mapping, Text, Image, File, Audio)):
        return True
    return _is_role_and_content(value)


def _is_role_and_content(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str)


def _is_blank(content: str | tuple[Part, ...]) -> bool:
    if isinstance(content, str):
        return not content.strip()
    return all(isinstance(part, Text) and not part.text.strip() for part in content)


def message_from(value: Any) -> Message:
    """Return one message from any of its forms. Raises ``InvalidMessage``."""
    if isinstance(value, Message):
        return value
    if isinstance(value, (str, Text, Image, File, Audio)):
        return Message("user", value)
    if _is_role_and_content(value):
        return Message(value[0], value[1])
    if isinstance(value, Mapping):
        return _message_from_mapping(value)
    raise InvalidMessage(f"a message is text, a dict, (role, content) or a Message, not {type(value).__name__}")


_FIELDS = ("role", "content", "name", "tool_calls", "tool_call_id", "extra", "refusal", "annotations", "type")


def _message_from_mapping(value: Mapping[str, Any]) -> Message:
    if "role" not in value:
        if "type" in value:  # a content part without a message around it
            return Message("user", (part_from(value),))
        raise InvalidMessage(f"a message needs a 'role'; this one has {', '.join(map(repr, value)) or 'nothing'}")
    unknown = [key for key in value if key not in _FIELDS and value["role"] != "assistant"]
    if unknown:
        raise InvalidMessage(f"unknown field {unknown[0]!r} of a message{suggest_name(str(unknown[0]), _FIELDS[:6])}")
    # Providers add fields to their own answers (`reasoning_content` of DeepSeek, `annotations` of OpenAI), and may
    # expect them in the next request. The first six fields have their own attribute, the others go into `extra` unless
    # they are empty; `type` says nothing.
    extra = value.get("extra") or {}
    if not isinstance(extra, Mapping):
        raise InvalidMessage(f"the 'extra' of a message is a dict of further fields, not {type(extra).__name__}")
    extra = dict(extra) | {
        key: each for key, each in value.items() if key not in _FIELDS[:6] and key != "type" and each
    }
    return Message(
        value["role"],
        value.get("content"),
        name=value.get("name"),
        calls=_tool_calls_from(value.get("tool_calls") or ()),
        call_id=value.get("tool_call_id"),
        extra=extra,
    )


def _content_from(value: Any) -> str | tuple[Part, ...]:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, (Text, Image, File, Audio, Mapping)):
        return (part_from(value),)
    if isinstance(value, Iterable) and not isinstance(value, (bytes, bytearray)):
        return tuple(map(part_from, value))
    raise InvalidMessage(f"the content of a message is text or a list of parts, not {type(value).__name__}")


def _tool_calls_from(value: Any) -> tuple[AssistantToolCall, ...]:
    try:
        return tuple(map(_tool_call_from, value))
    except (KeyError, TypeError, AttributeError) as error:
        raise InvalidMessage(
            "a tool call of a message looks like {'id': ..., 'function': {'name': ..., 'arguments': '{}'}}"
        ) from error


def _tool_call_from(value: Any) -> AssistantToolCall:
    if isinstance(value, AssistantToolCall):
        return value
    function = value["function"]
    arguments = function.get("arguments")
    if not isinstance(arguments, str | Mapping | None):
        raise TypeError("arguments are text, or an object")
    extra = {key: each for key, each in value.items() if key not in ("id", "type", "function", "index")}
    return AssistantToolCall(str(value.get("id") or ""), str(function["name"]), text_of_arguments(arguments), extra)


def text_of_arguments(arguments: Any) -> str:
    """Return the arguments of a tool call as text. Some servers send the object itself, not its JSON as text."""
    if isinstance(arguments, Mapping):
        return json.dumps(dict(arguments))
    return arguments if isinstance(arguments, str) else ""
