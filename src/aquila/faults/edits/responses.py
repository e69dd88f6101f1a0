"""Edits of answers of OpenAI's Responses API.

A stream repeats its content: in the events of an item, in the event at the item's end, and in the whole response at the
end. All repetitions are changed alike, and indices of items and numbers of events stay without gaps.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from aquila.cassettes.codecs.yaml.tree import Number
from aquila.faults.edits import form_edits
from aquila.faults.edits.draft import Draft, DraftPart, Value, number
from aquila.faults.fault import ImpossibleFault
from aquila.json_fields import mapping, mappings, string

_CALLS = {"function_call": "arguments", "custom_tool_call": "input"}
_SAID = ("message", *_CALLS)
_REASONS: dict[form_edits.Cut, str] = {"length": "max_output_tokens", "content_filter": "content_filter"}
_ITEM_EVENTS = ("response.output_item.added", "response.output_item.done")
_ENDED = ("completed", "incomplete")


class ResponseEdits(form_edits.FormEdits):
    """A whole answer is a response; an event of a stream holds a response, an item, or a piece of an item."""

    form = "OpenAI Responses"

    def end(self, draft: Draft, reason: form_edits.Cut) -> None:
        items: list[Value] = []
        for response in _set_final_status(draft, "incomplete"):
            response["incomplete_details"] = {"reason": _REASONS[reason]}
            if response.get("completed_at") is not None:
                response["completed_at"] = None
            items += mappings(response.get("output"))[-1:]
        items += [mapping(value.get("item")) for value in draft.values if value.get("type") == _ITEM_EVENTS[1]][-1:]
        for item in items:
            if item.get("status") == "completed":
                item["status"] = "incomplete"

    def silence(self, draft: Draft, refusal: str | None) -> None:
        ended = _set_final_status(draft, "completed")
        message = None if refusal is None else _write_refusal(draft, ended[-1], refusal)
        for response in ended:
            if response.get("incomplete_details") is not None:
                response["incomplete_details"] = None
            if isinstance(response.get("output_text"), str):
                response["output_text"] = refusal or ""
        for response in _responses(draft):
            if response.get("output") or not draft.is_streamed:
                response["output"] = _silence_items(mappings(response.get("output")), message)
        if draft.is_streamed:
            _silence_events(draft, message)

    def cut_arguments(self, draft: Draft) -> None:
        items, events = _last_call(draft)
        holders = [(item, _CALLS[item["type"]]) for item in items]
        holders += [(event, key) for event in events for key in _CALLS.values()]
        wholes = [(holder, key) for holder, key in holders if string(holder.get(key))]
        deltas = [(event, "delta") for event in events if isinstance(event.get("delta"), str)]
        if not wholes or deltas:
            form_edits.cut_pieces(deltas)
        for holder, key in wholes:
            holder[key] = form_edits.cut_json(holder[key])

    def rename_tool(self, draft: Draft, name: str) -> None:
        items, events = _last_call(draft)
        for holder in (*items, *(event for event in events if "name" in event)):
            holder["name"] = str(name)

    def drop_call_id(self, draft: Draft) -> None:
        form_edits.drop_each(_last_call(draft)[0], "call_id", form_edits.NO_ID)

    def drop_usage(self, draft: Draft) -> None:
        for response in form_edits.find_holders(_responses(draft), "usage", form_edits.NO_USAGE):
            response["usage"] = None

    def rename_model(self, draft: Draft, name: str) -> None:
        form_edits.rename_each(_responses(draft), "model", name)

    def write_error(self, before: Sequence[Value]) -> Value:
        message = "The server had an error while processing your request. Sorry about that!"
        error: Value = {"type": "error", "code": "server_error", "message": message, "param": None}
        if not before:
            return {**error, "sequence_number": number(0)}
        last = _int_or_none(before[-1].get("sequence_number"))
        return error if last is None else {**error, "sequence_number": number(last + 1)}


def _responses(draft: Draft) -> list[Value]:
    if not draft.is_streamed:
        return list(draft.values)
    return [value["response"] for value in draft.values if isinstance(value.get("response"), dict)]


def _set_final_status(draft: Draft, status: str) -> list[Value]:
    """Give the answer a final status, and return the responses with it. Raises ``ImpossibleFault`` if none ended."""
    ended = []
    for value in draft.values:
        response = mapping(value.get("response")) if draft.is_streamed else value
        if draft.is_streamed and value.get("type") not in [f"response.{each}" for each in _ENDED]:
            continue
        if response.get("status") in _ENDED:
            response["status"] = status
            if draft.is_streamed:
                value["type"] = f"response.{status}"
            ended.append(response)
    if not ended:
        raise ImpossibleFault(form_edits.NO_END)
    return ended


# --- tool calls


def _last_call(draft: Draft) -> tuple[list[Value], list[Value]]:
    """Return the last tool call: all items that represent it, and the events with its arguments."""
    items: list[Value] = []
    begun = [
        value
        for value in draft.values
        if value.get("type") in _ITEM_EVENTS and string(mapping(value.get("item")).get("type")) in _CALLS
    ]
    events: list[Value] = []
    if begun:
        index = begun[-1].get("output_index")
        items += [value["item"] for value in begun if value.get("output_index") == index]
        events += [
            value
            for value in draft.values
            if value.get("output_index") == index and value.get("type") not in _ITEM_EVENTS
        ]
    for response in _responses(draft):
        items += [item for item in mappings(response.get("output")) if string(item.get("type")) in _CALLS][-1:]
    if not items:
        raise ImpossibleFault(form_edits.NO_CALL)
    return items, events


# --- an answer that says nothing, or refuses


def _write_refusal(draft: Draft, response: Value, text: str) -> Value:
    """Return the item of a refusal. It takes the id of the message that it replaces, if there is one."""
    items = [*mappings(response.get("output")), *(mapping(value.get("item")) for value in draft.values)]
    ids = [string(item.get("id")) for item in items if item.get("type") == "message"]
    made_up = f"msg_{string(response.get('id')).removeprefix('resp_')}"
    return {
        "id": next(filter(None, ids), made_up),
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": [{"type": "refusal", "refusal": text}],
    }


def _silence_items(items: Sequence[Value], message: Value | None) -> list[Value]:
    """Return the items without messages and tool calls, and with ``message`` in the place of the first of them."""
    kept: list[Value] = []
    for item in items:
        if item.get("type") not in _SAID:
            kept.append(item)
        elif message is not None and message not in kept:
            kept.append(message)
    return [*kept, message] if message is not None and message not in kept else kept


def _silence_events(draft: Draft, message: Value | None) -> None:
    """Remove the events of messages and tool calls from a stream, and insert those of ``message``."""
    kinds: dict[str, Any] = {}
    for value in draft.values:
        if value.get("type") in _ITEM_EVENTS:
            kinds[str(value.get("output_index"))] = mapping(value.get("item")).get("type")
    said = {index for index, kind in kinds.items() if kind in _SAID}
    places: dict[str, Number] = {}
    at = 0
    first: str | None = None
    for index in kinds:
        if index not in said:
            places[index] = number(at)
            at += 1
        elif message is not None and first is None:
            first = index
            places[index] = number(at)
            at += 1
    before_end: DraftPart | None = None
    for part in draft.parts:
        index = str(part.value.get("output_index"))
        if index in said:
            part.remove()
            if message is not None and index == first:
                part.followers += _write_item_events(message, places[index])
                message = None
        elif index in places:
            part.value["output_index"] = places[index]
        elif part.value.get("type") == "response.completed" and message is not None and before_end is not None:
            before_end.followers += _write_item_events(message, number(at))
            message = None
        before_end = part
    _number_events(draft.parts)


def _write_item_events(message: Value, index: Number) -> list[Value]:
    """Return the events that stream the item of a refusal, as item ``index`` of the output."""
    (part,) = message["content"]
    place = {"item_id": message["id"], "output_index": index, "content_index": number(0)}
    empty = {**part, "refusal": ""}
    begun = {**message, "status": "in_progress", "content": []}
    events: list[tuple[str, Value]] = [
        ("output_item.added", {"output_index": index, "item": begun}),
        ("content_part.added", {**place, "part": empty}),
        ("refusal.delta", {**place, "delta": part["refusal"]}),
        ("refusal.done", {**place, "refusal": part["refusal"]}),
        ("content_part.done", {**place, "part": part}),
        ("output_item.done", {"output_index": index, "item": message}),
    ]
    return [{"type": f"response.{kind}", "sequence_number": number(0), **fields} for kind, fields in events]


def _number_events(parts: Iterable[DraftPart]) -> None:
    """Number the events again, from the first number on. If the stream has no numbers, new events get none."""
    following: int | None = None
    for part in parts:
        if following is None:
            following = _int_or_none(part.value.get("sequence_number"))
        if not part.is_removed and following is not None and "sequence_number" in part.value:
            part.value["sequence_number"] = number(following)
            following += 1
        for event in part.followers:
            if following is None:
                del event["sequence_number"]
            else:
                event["sequence_number"] = number(following)
                following += 1


def _int_or_none(value: Any) -> int | None:
    try:
        return int(value) if isinstance(value, str) else None  # numbers of a draft are texts
    except ValueError:
        return None
