"""The Chat Completions endpoint: builds its requests. ``chat_parser`` reads the answers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from aquila.content import File, Part
from aquila.engine.calls.options import CHAT_FIELDS, TOOL_CHOICES, Options
from aquila.engine.endpoints.chat_parser import ChatParser
from aquila.engine.endpoints.structured_output import metadata_to_wire, response_format_to_wire
from aquila.errors import BadRequest, ConfigError, InvalidMessage
from aquila.messages import Message, call_to_dict, part_to_dict
from aquila.tools import Tool

name = "chat"
path = retrieve_path = "chat.completions.create"


def poll_request(answer: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return None: an answer of this API is always finished."""
    return None


TOOL_ROLE = "tool"
NO_REASONING = "no reasoning"
"""Messages without the model's reasoning. DeepSeek refuses them after tool calls.

Others, such as Mistral, refuse messages with reasoning, so it is sent only after such a refusal.
"""
_REASONING = "reasoning_content"
_OTHER_FIELDS: Mapping[str, str | None] = {"stream_options": None, "max_completion_tokens": "max_tokens"}
"""Fields of OpenAI's API that others refuse, such as Mistral, each with the field that they have instead."""
# ``output`` holds the items of an answer of the Responses API; the others are fields of chat answers.
NOT_SENT = frozenset({"output", "annotations", "audio", "function_call", "reasoning", _REASONING})

_MISSES_REASONING = re.compile("missing|must be passed", re.IGNORECASE)
# There is no code for these refusals: providers name what they refuse in the message of an answer of 400 or 422.
_REFUSES_TOOL_ROLE = re.compile(r"\brole\b.*\btool\b|\btool\b.*\brole\b", re.IGNORECASE | re.DOTALL)
_REFUSES_A_FIELD = re.compile(
    "extra_forbidden|not permitted|not allowed|not supported|unsupported|unrecognized|unknown|unexpected", re.IGNORECASE
)


def find_refused(error: BaseException, request: Mapping[str, Any]) -> str | None:
    """Return what the provider refuses in a request; None for any other error.

    - ``TOOL_ROLE``: messages of tools. Their results are then sent as user messages.
    - ``NO_REASONING``: messages without the reasoning of the model. It is then sent back.
    - The name of a field, which is then left out or gets another name.
    """
    if not isinstance(error, BadRequest):
        return None
    text = str(error)
    if _REFUSES_TOOL_ROLE.search(text) and any(message["role"] == TOOL_ROLE for message in request["messages"]):
        return TOOL_ROLE
    if _REASONING in text and _MISSES_REASONING.search(text):
        return None if any(_REASONING in message for message in request["messages"]) else NO_REASONING
    named = (name for name in _OTHER_FIELDS if name in request and name in text)
    return next(named, None) if _REFUSES_A_FIELD.search(text) else None


def build_request(
    messages: Sequence[Message], options: Options, *, model: str, refused: AbstractSet[str] = frozenset()
) -> dict[str, Any]:
    """Return the arguments of ``chat.completions.create``."""
    wire = [message_to_wire(message) for message in (without_tool_role(messages) if TOOL_ROLE in refused else messages)]
    if NO_REASONING in refused:
        for message, written in zip(messages, wire, strict=True):
            if message.role == "assistant":
                written[_REASONING] = message.extra.get(_REASONING) or ""
    if options.instructions:
        wire.insert(0, {"role": "system", "content": options.instructions})
    given, wanted = vars(options), options.response_format
    optional: dict[str, Any] = {
        **{wire: given[name] for name, wire in CHAT_FIELDS},
        "response_format": None if wanted is None else response_format_to_wire(wanted),
        # The API refuses ``metadata`` unless ``store`` is set.
        "metadata": metadata_to_wire(options) if options.store else None,
        "reasoning_effort": _reasoning_effort(options),
        "verbosity": _verbosity(options),
        "tool_choice": _tool_choice_to_wire(options),
        "tools": [*map(_tool_to_wire, options.tools.tools.values()), *_built_in_tools(options)] or None,
    }
    request = {
        "model": model,
        "messages": wire,
        "stream": True,
        "stream_options": {"include_usage": True},
        **{key: value for key, value in optional.items() if value is not None},
    }
    for name in refused & _OTHER_FIELDS.keys():
        value, other = request.pop(name, None), _OTHER_FIELDS[name]
        if other is not None and value is not None:
            request[other] = value
    return request


def _reasoning_effort(options: Options) -> Any:
    reasoning = options.reasoning or {}
    if "summary" in reasoning:
        raise ConfigError("option 'reasoning': a summary belongs to endpoint='responses'; chat has 'effort' only")
    return reasoning.get("effort")


def _verbosity(options: Options) -> Any:
    settings = options.text or {}
    others = settings.keys() - {"verbosity"}
    if others:
        raise ConfigError(f"option 'text': {min(others)!r} belongs to endpoint='responses'; chat has 'verbosity' only")
    return settings.get("verbosity")


def _tool_to_wire(tool: Tool) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": tool.schema}
    return {"type": "function", "function": function | ({"strict": True} if tool.strict else {})}


def _built_in_tools(options: Options) -> list[dict[str, Any]]:
    names = [each for each in options.tools.built_in if isinstance(each, str)]
    if names:
        raise ConfigError(
            f"the built-in tool {names[0]!r} belongs to endpoint='responses'; for a provider that has it on chat, "
            "give it as a dict, {'type': ...}"
        )
    return [dict(each) for each in options.tools.built_in if not isinstance(each, str)]


def _tool_choice_to_wire(options: Options) -> Any:
    choice = options.tool_choice
    if choice is None or isinstance(choice, Mapping) or choice in TOOL_CHOICES:
        return choice
    return {"type": "function", "function": {"name": choice}} if choice in options.tools.tools else {"type": choice}


def without_tool_role(messages: Sequence[Message]) -> Iterator[Message]:
    """Yield the messages of a conversation, with tool calls and tool results written as text."""
    names: dict[str, str] = {}
    for message in messages:
        if message.calls:
            names |= {call.id: call.name for call in message.calls}
            called = "\n".join(f"[I call the tool {call.name} with {call.arguments or '{}'}]" for call in message.calls)
            yield Message("assistant", "\n".join(filter(None, (message.text, called))))
        elif message.role == "tool":
            name = names.get(message.call_id or "", "")
            yield Message("user", f"[The tool {name} returned] {message.text}")
        else:
            yield message


def message_to_wire(message: Message) -> dict[str, Any]:
    """Return a message in the form of the API."""
    wire: dict[str, Any] = {"role": message.role}
    if isinstance(message.content, str):
        # An assistant message with only tool calls or a refusal has no text; some providers refuse an empty one.
        silent = not message.content and (message.calls or message.extra.get("refusal"))
        wire["content"] = None if silent else message.content
    else:
        wire["content"] = [_part_to_wire(part) for part in message.content]
    if message.name is not None:
        wire["name"] = message.name
    if message.calls:
        wire["tool_calls"] = [call_to_dict(call) for call in message.calls]
    if message.call_id is not None:
        wire["tool_call_id"] = message.call_id
    # The message may come from an answer. Providers add fields to answers that they do not accept in requests.
    wire |= {key: value for key, value in message.extra.items() if key not in wire and key not in NOT_SENT}
    return wire


def _part_to_wire(part: Part) -> dict[str, Any]:
    if isinstance(part, File) and part.url is not None:
        raise InvalidMessage(
            "a file by its web address belongs to endpoint='responses'; for chat give its content, aquila.file(path)"
        )
    return part_to_dict(part)


make_parser = ChatParser
