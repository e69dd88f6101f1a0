"""The endpoint of OpenAI's Responses API: builds its requests and reads its answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from aquila.content import Audio, File, Image, Part, Text
from aquila.engine.calls.error_translation import error_from_object, error_of_other_json
from aquila.engine.calls.options import RESPONSES_FIELDS, TOOL_CHOICES, Options
from aquila.engine.endpoints.answer_form import Form, raise_explained, require_form
from aquila.engine.endpoints.chat_parser import TextBuffer, read_usage
from aquila.engine.endpoints.protocol import EventTags, Turn
from aquila.engine.endpoints.structured_output import metadata_to_wire, response_format_to_wire
from aquila.errors import InvalidAnswer, InvalidMessage, StreamBroken
from aquila.events import Chunk, Event, Progress, Reasoning, Refusal, Usage
from aquila.messages import AssistantToolCall, Message, text_of_arguments
from aquila.plurals import count_of
from aquila.tools import BUILT_IN, Tool

name = "responses"
path = "responses.create"
retrieve_path = "responses.retrieve"


def poll_request(answer: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the arguments that fetch an answer again, or None for one that is finished.

    ``queued`` and ``in_progress`` are the statuses of an answer that is being made in the background. Raises
    ``OddField`` for one without an id.
    """
    if answer.get("status") not in ("queued", "in_progress"):
        return None
    identity: Any = answer.get("id")
    require_form(identity, str, "id of the response")
    return {"response_id": identity}


def find_refused(error: BaseException, request: Mapping[str, Any]) -> str | None:
    """Return None: the API has one form only."""
    return None


def build_request(
    messages: Sequence[Message], options: Options, *, model: str, refused: AbstractSet[str] = frozenset()
) -> dict[str, Any]:
    """Return the arguments of ``responses.create``."""
    given = vars(options)
    optional: dict[str, Any] = {
        **{wire: given[name] for name, wire in RESPONSES_FIELDS},
        "instructions": options.instructions,
        "text": _text_to_wire(options),
        "background": options.background or None,
        "metadata": metadata_to_wire(options),
        "tool_choice": _tool_choice_to_wire(options),
    }
    if options.store is False and options.reasoning:
        # A conversation that is not stored can only be continued if the reasoning is sent back, encrypted.
        optional["include"] = ["reasoning.encrypted_content"]
    tools = options.tools
    optional["tools"] = [*map(_tool_to_wire, tools.tools.values()), *map(_built_in_tool, tools.built_in)] or None
    return {
        "model": model,
        "input": [item for message in messages for item in message_to_wire(message) if _can_be_sent(item, options)],
        "stream": True,
        **{key: value for key, value in optional.items() if value is not None},
    }


def _tool_to_wire(tool: Tool) -> dict[str, Any]:
    # Unlike the chat API, this one treats a function as strict unless ``strict`` is false.
    head = {"type": "function", "name": tool.name, "description": tool.description}
    return {**head, "parameters": tool.schema, "strict": tool.strict}


def _built_in_tool(definition: Mapping[str, Any] | str) -> dict[str, Any]:
    return dict(BUILT_IN[definition] if isinstance(definition, str) else definition)


def _tool_choice_to_wire(options: Options) -> Any:
    choice = options.tool_choice
    if choice is None or isinstance(choice, Mapping) or choice in TOOL_CHOICES:
        return choice
    return {"type": "function", "name": choice} if choice in options.tools.tools else {"type": choice}


def _can_be_sent(item: Mapping[str, Any], options: Options) -> bool:
    """Whether an item may be sent: the API refuses reasoning that it has not stored and that is not encrypted."""
    return options.store is not False or item.get("type") != "reasoning" or bool(item.get("encrypted_content"))


def _text_to_wire(options: Options) -> dict[str, Any] | None:
    """Return ``text=`` and ``response_format=`` as the one field that the API has for both."""
    settings = dict(options.text or {})
    if options.response_format is not None:
        chat = response_format_to_wire(options.response_format)
        # The chat API nests the schema; this one holds its fields beside the type.
        nested = {"type": chat["type"], **chat.get(chat["type"], {})} if "json_schema" in chat else chat
        settings["format"] = nested
    return settings or None


def message_to_wire(message: Message) -> Iterator[dict[str, Any]]:
    """Yield the input items of a message."""
    if message.name is not None:
        raise InvalidMessage(
            f"the Responses API has no name of an author; remove name={message.name!r} from the message"
        )
    if message.role == "tool":
        yield {"type": "function_call_output", "call_id": message.call_id, "output": _tool_output_to_wire(message)}
        return
    if message.role != "assistant":
        yield {"role": message.role, "content": _content_to_wire(message.content)}
        return
    if "output" in message.extra:
        # The items exactly as they came, so that the model gets its own reasoning back.
        yield from message.extra["output"]
        return
    refusal = message.extra.get("refusal")
    if message.text or refusal or not message.calls:
        said = {"type": "refusal", "refusal": refusal} if refusal and not message.text else None
        content = [said or {"type": "output_text", "text": message.text}]
        yield {"type": "message", "role": "assistant", "content": content}
    for call in message.calls:
        yield {"type": "function_call", "call_id": call.id, "name": call.name, "arguments": call.arguments}


def _tool_output_to_wire(message: Message) -> str | list[dict[str, Any]]:
    if isinstance(message.content, str) or all(isinstance(part, Text) for part in message.content):
        return message.text
    return [part_to_wire(part) for part in message.content]


def _content_to_wire(content: str | tuple[Part, ...]) -> str | list[dict[str, Any]]:
    return content if isinstance(content, str) else [part_to_wire(part) for part in content]


def part_to_wire(part: Part) -> dict[str, Any]:
    """Return a part in the form of the Responses API."""
    match part:
        case Text(text):
            return {"type": "input_text", "text": text}
        case Image(url, detail):
            return {"type": "input_image", "image_url": url, "detail": detail or "auto"}
        case File(filename, data, file_id, url):
            fields = {"filename": filename, "file_data": data, "file_id": file_id, "file_url": url}
            return {"type": "input_file"} | {key: value for key, value in fields.items() if value is not None}
        case Audio(data, format):
            return {"type": "input_audio", "input_audio": {"data": data, "format": format}}


_TEXT: Mapping[str, type[Chunk | Refusal | Reasoning]] = {
    "response.output_text.delta": Chunk,
    "response.refusal.delta": Refusal,
    "response.reasoning_summary_text.delta": Reasoning,
    "response.reasoning_text.delta": Reasoning,
}
_ENDS = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled"})
_INCOMPLETE = {"max_output_tokens": "length"}


_ITEM: Form = {"type": str, "content": [{}], "summary": [{}]}
_ANSWER: Form = {"status": str, "error": {}, "output": [_ITEM], "incomplete_details": {}}
_EVENT: Form = {"type": str, "response": _ANSWER, "item": _ITEM}
"""The forms of what is read in an event, and in a complete answer."""


class ResponsesParser:
    """Reads one streamed response."""

    def __init__(self, tags: EventTags) -> None:
        self._ref = tags.ref
        self._metadata = tags.metadata
        self._texts: dict[type, TextBuffer] = {Chunk: TextBuffer(), Refusal: TextBuffer(), Reasoning: TextBuffer()}
        self._items: list[dict[str, Any]] = []
        self._final: Mapping[str, Any] | None = None
        self._seen = False
        self.id: str | None = None

    @property
    def usage(self) -> Usage:
        """The tokens of the answer; the API reports them with the final event only."""
        return read_usage((self._final or {}).get("usage"), self._ref, self._metadata)

    def feed(self, chunk: Any) -> Sequence[Event]:
        """Return the events in one event of the API."""
        try:
            return self._feed(chunk)
        except (AttributeError, KeyError, TypeError) as error:
            raise_explained(error, chunk, _EVENT)

    def _feed(self, chunk: Any) -> Sequence[Event]:
        self._seen = True
        kind = chunk.type
        made = _TEXT.get(kind)
        if made is not None:
            text = chunk.delta
            if not isinstance(text, str):
                require_form(text, str, f"delta of {kind}")
            self._texts[made].write(text)
            return (made(text, ref=self._ref, metadata=self._metadata),)
        if kind in _ENDS:
            self._keep_final(_to_plain_values(chunk.response, "response"))
            return self._read_unstreamed_texts()
        if kind == "error":
            raise error_from_object(_to_plain_values(chunk))
        if kind != "response.output_item.done":
            return self._read_progress(chunk, kind)
        item = _to_plain_values(chunk.item, "item")
        self._items.append(item)
        # A built-in tool's item tells what the provider did: its query and its results. A ``function_call`` is for us
        # to run, so it is no progress of the provider.
        step = item.get("type") or ""
        if step.endswith("_call") and step != "function_call":
            return (Progress(step, "done", item, ref=self._ref, metadata=self._metadata),)
        return ()

    def _read_progress(self, chunk: Any, kind: str) -> Sequence[Event]:
        """Return the event of a step that the provider takes, such as ``response.web_search_call.searching``."""
        step, _, status = kind.removeprefix("response.").rpartition(".")
        if not step:  # the state of the whole answer: created, queued, in_progress
            answer = getattr(chunk, "response", None)
            if answer is None:  # about the connection: OpenAI sends ``keepalive`` while a long answer is made
                return ()
            require_form(answer, {}, "response")
            self.id = getattr(answer, "id", None)
            step, detail = "response", {}
        elif not step.endswith(("_call", "_list_tools")) or status in ("delta", "done"):
            return ()
        else:
            known = _to_plain_values(chunk)
            detail = {key: value for key, value in known.items() if key not in ("type", "sequence_number")}
        return (Progress(step, status, detail, ref=self._ref, metadata=self._metadata),)

    def feed_complete_answer(self, answer: Mapping[str, Any]) -> Sequence[Event]:
        """Return the events in a complete response."""
        if answer.get("error") and not answer.get("output"):
            raise error_from_object(answer)
        if not isinstance(answer.get("output"), list):
            raise error_of_other_json(answer, "a response", "output")
        self._seen = True
        try:
            return self._read_rest(answer)
        except (AttributeError, TypeError) as error:
            raise_explained(error, answer, _ANSWER, "the answer")

    def _read_rest(self, answer: Mapping[str, Any]) -> Sequence[Event]:
        """Return the events for those texts of a complete answer that were not fed before."""
        self._keep_final(answer)
        events: list[Event] = []
        for kind, text in _texts_of(answer["output"]):
            rest = text.removeprefix(self._texts[kind].getvalue())
            if rest:
                self._texts[kind].write(rest)
                events.append(kind(rest, ref=self._ref, metadata=self._metadata))
        return events

    def _read_unstreamed_texts(self) -> Sequence[Event]:
        """Return the events for the texts in the final event if no delta came before: some servers send no deltas."""
        found = {
            kind: text for kind, text in _texts_of((self._final or {}).get("output") or ()) if kind is not Reasoning
        }
        if any(self._texts[kind].getvalue() for kind in found):
            return ()
        for kind, text in found.items():
            self._texts[kind].write(text)
        return tuple(kind(text, ref=self._ref, metadata=self._metadata) for kind, text in found.items() if text)

    def _keep_final(self, final: Mapping[str, Any]) -> None:
        self._final = final
        if final.get("status") == "failed":
            raise error_from_object(final.get("error") or {"message": "the response failed, without saying why"})

    def finish(self) -> Turn:
        """Return the complete answer."""
        if not self._seen:
            raise InvalidAnswer("the provider answered with an empty stream: no event, no text")
        text = self._texts[Chunk].getvalue()
        if self._final is None:
            raise StreamBroken(
                f"the stream ended without a final event, after {count_of(len(text), 'character')}: "
                "the answer is not complete"
            )
        try:
            return self._make_turn(dict(self._final), text)
        except (AttributeError, TypeError) as error:
            raise_explained(error, self._final, _ANSWER, "the answer")

    def _make_turn(self, raw: dict[str, Any], text: str) -> Turn:
        output = raw.get("output") or self._items
        raw["output"] = output
        calls = tuple([_call_in(item) for item in output if item.get("type") == "function_call"])
        return Turn(
            text=text,
            message=Message("assistant", text, calls=calls, extra={"output": output}),
            usage=self.usage,
            raw=raw,
            finish_reason=_finish_reason(raw, calls),
            id=raw.get("id"),
            model=model if isinstance(model := raw.get("model"), str) else None,
            reasoning=self._texts[Reasoning].getvalue(),
            refusal=self._texts[Refusal].getvalue(),
        )


make_parser = ResponsesParser


def _call_in(item: Mapping[str, Any]) -> AssistantToolCall:
    """Return the tool call of an item. Raises ``OddField``."""
    identity: Any = item.get("call_id") or item.get("id") or ""
    called: Any = item.get("name")
    require_form(identity, str, "call_id of a function_call")
    require_form(called, str, "name of a function_call")
    return AssistantToolCall(identity, called, text_of_arguments(item.get("arguments")))


def _finish_reason(raw: Mapping[str, Any], calls: tuple[AssistantToolCall, ...]) -> str | None:
    """Return the finish reason in the words of the chat API, so that a caller need not know the endpoint."""
    status = raw.get("status")
    if status == "incomplete":
        reason = (raw.get("incomplete_details") or {}).get("reason")
        return _INCOMPLETE.get(str(reason), reason or "incomplete")
    if calls:
        return "tool_calls"
    return "stop" if status in ("completed", None) else str(status)


def _texts_of(output: Sequence[Mapping[str, Any]]) -> Iterator[tuple[type[Chunk | Refusal | Reasoning], str]]:
    """Yield each kind of text in an answer, joined to one text."""
    texts: dict[type[Chunk | Refusal | Reasoning], str] = {Reasoning: "", Chunk: "", Refusal: ""}
    for item in output:
        for part in [*(item.get("summary") or ()), *(item.get("content") or ())]:
            match part:
                case {"type": "output_text", "text": str(text)}:
                    texts[Chunk] += text
                case {"type": "refusal", "refusal": str(text)}:
                    texts[Refusal] += text
                case {"type": "summary_text" | "reasoning_text", "text": str(text)}:
                    texts[Reasoning] += text
    yield from texts.items()


def _to_plain_values(value: Any, place: str = "the event") -> dict[str, Any]:
    """Return an object of the SDK as the JSON values that it was made from. Raises ``OddField``."""
    if isinstance(value, dict):
        return value
    require_form(value, {}, place)
    plain: dict[str, Any] = value.to_dict(mode="json", warnings=False)
    return plain
