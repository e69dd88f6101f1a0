"""Writes the stream of an answer of OpenAI's Responses API: its items piece by piece, with the events around them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from aquila.wire_forms.form import Piece, write_event

Value = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ResponseItem:
    """An item of an answer: ``whole``, and the ``pieces`` in which the text of each of its parts is streamed."""

    whole: Value
    pieces: tuple[tuple[str, ...], ...]


class _Call(NamedTuple):
    """The names of a call's events, and the field of the item that they fill."""

    events: str
    field: str


_CALLS = {
    "function_call": _Call("response.function_call_arguments", "arguments"),
    "custom_tool_call": _Call("response.custom_tool_call_input", "input"),
}


class _Events:
    """Writes the events of one stream, and numbers them from 0."""

    def __init__(self) -> None:
        self._next = 0

    def write(self, kind: str, *, is_content: bool = False, **fields: Any) -> Piece:
        number, self._next = self._next, self._next + 1
        return write_event({"type": kind, "sequence_number": number, **fields}, name=kind, is_content=is_content)


def write_response_events(whole: Value, items: list[ResponseItem]) -> Iterator[Piece]:
    """Yield the events of an answer: ``whole`` is the response object, ``items`` are its items."""
    events = _Events()
    begun = {**whole, "status": "in_progress", "completed_at": None, "incomplete_details": None, "usage": None}
    begun["output"] = []
    yield events.write("response.created", response=begun)
    yield events.write("response.in_progress", response=begun)
    for at, item in enumerate(items):
        kind = item.whole["type"]
        if kind in _CALLS:
            yield from _write_call(events, at, item, _CALLS[kind])
        elif kind == "reasoning":
            yield from _write_reasoning(events, at, item)
        else:
            yield from _write_message(events, at, item)
        yield events.write("response.output_item.done", output_index=at, item=item.whole)
    yield events.write(f"response.{whole['status']}", response=whole)


def _write_reasoning(events: _Events, at: int, item: ResponseItem) -> Iterator[Piece]:
    yield events.write("response.output_item.added", output_index=at, item={**item.whole, "summary": []})
    for index, (part, pieces) in enumerate(zip(item.whole["summary"], item.pieces, strict=True)):
        place = {"item_id": item.whole["id"], "output_index": at, "summary_index": index}
        yield events.write("response.reasoning_summary_part.added", **place, part={**part, "text": ""})
        for text in pieces:
            yield events.write("response.reasoning_summary_text.delta", **place, delta=text, is_content=True)
        yield events.write("response.reasoning_summary_text.done", **place, text=part["text"])
        yield events.write("response.reasoning_summary_part.done", **place, part=part)


def _write_message(events: _Events, at: int, item: ResponseItem) -> Iterator[Piece]:
    begun = {**item.whole, "status": "in_progress", "content": []}
    yield events.write("response.output_item.added", output_index=at, item=begun)
    for index, (part, pieces) in enumerate(zip(item.whole["content"], item.pieces, strict=True)):
        place = {"item_id": item.whole["id"], "output_index": at, "content_index": index}
        write = _write_refusal if part["type"] == "refusal" else _write_text
        yield from write(events, place, part, pieces)
        yield events.write("response.content_part.done", **place, part=part)


def _write_text(events: _Events, place: Value, part: Value, pieces: tuple[str, ...]) -> Iterator[Piece]:
    yield events.write("response.content_part.added", **place, part={**part, "text": "", "logprobs": []})
    for number, text in enumerate(pieces):
        logprobs = part["logprobs"][number : number + 1]
        yield events.write("response.output_text.delta", **place, delta=text, logprobs=logprobs, is_content=True)
    yield events.write("response.output_text.done", **place, text=part["text"], logprobs=part["logprobs"])


def _write_refusal(events: _Events, place: Value, part: Value, pieces: tuple[str, ...]) -> Iterator[Piece]:
    yield events.write("response.content_part.added", **place, part={**part, "refusal": ""})
    for text in pieces:
        yield events.write("response.refusal.delta", **place, delta=text, is_content=True)
    yield events.write("response.refusal.done", **place, refusal=part["refusal"])


def _write_call(events: _Events, at: int, item: ResponseItem, call: _Call) -> Iterator[Piece]:
    begun = {**item.whole, "status": "in_progress", call.field: ""}
    yield events.write("response.output_item.added", output_index=at, item=begun, is_content=True)
    place = {"item_id": item.whole["id"], "output_index": at}
    for text in item.pieces[0]:
        yield events.write(f"{call.events}.delta", **place, delta=text, is_content=True)
    done = {call.field: item.whole[call.field], "name": item.whole["name"]}
    yield events.write(f"{call.events}.done", **place, **done)
