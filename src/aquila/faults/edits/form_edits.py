"""The changes that every wire form offers, and how the arguments of a tool call are cut."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal

from aquila.faults.edits.draft import Draft, Value
from aquila.faults.fault import ImpossibleFault

Cut = Literal["length", "content_filter"]
"""Why an answer ends before it is complete; each form has its own word for it."""

NO_END = "the answer does not say how it ends"
NO_CALL = "the answer calls no tool"
NO_ID = "the tool call has no id"
NO_USAGE = "the answer reports no usage"
NO_MODEL = "the answer does not name its model"


class FormEdits(ABC):
    """Changes the content of answers of one wire form, streamed or not.

    Each method changes the parts of a draft, or raises ``ImpossibleFault`` with the reason. A draft may hold any JSON:
    parts that do not follow the form are not changed. Of several tool calls, the last one is changed.
    """

    form: ClassVar[str]
    """The name of the wire form."""

    @abstractmethod
    def end(self, draft: Draft, reason: Cut) -> None:
        """Let the answer say that it was cut off for ``reason``."""

    @abstractmethod
    def silence(self, draft: Draft, refusal: str | None) -> None:
        """Remove all texts and tool calls. Unless ``refusal`` is None, put a refusal with that text in their place."""

    @abstractmethod
    def cut_arguments(self, draft: Draft) -> None:
        """Cut the JSON of the last tool call's arguments in half."""

    @abstractmethod
    def rename_tool(self, draft: Draft, name: str) -> None:
        """Let the last tool call name the tool ``name``."""

    @abstractmethod
    def drop_call_id(self, draft: Draft) -> None:
        """Remove the id of the last tool call."""

    @abstractmethod
    def drop_usage(self, draft: Draft) -> None:
        """Remove everything that reports tokens."""

    @abstractmethod
    def rename_model(self, draft: Draft, name: str) -> None:
        """Let the answer say that the model ``name`` wrote it."""

    @abstractmethod
    def write_error(self, before: Sequence[Value]) -> Value:
        """Return the event that reports an error of the provider, after the events ``before``."""


def cut_json(text: str) -> str:
    """Return the first half of an object's JSON, which is not valid. Raises ``ImpossibleFault`` for other text."""
    try:
        is_object = isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        is_object = False
    if not is_object:
        raise ImpossibleFault("the arguments of the tool call are no JSON object, so there is nothing to cut")
    return text[: text.index("{") + len(text.strip()) // 2]


def cut_pieces(pieces: Sequence[tuple[Value, str]]) -> None:
    """Cut arguments in half that arrived in pieces. Each piece is an object and the key of its text."""
    left = len(cut_json("".join(holder[key] for holder, key in pieces)))
    for holder, key in pieces:
        holder[key] = holder[key][:left]
        left -= len(holder[key])


def find_holders(values: Sequence[Value], key: str, reason: str) -> list[Value]:
    """Return the objects that have a value under ``key``. Raises ``ImpossibleFault`` with ``reason`` if none has."""
    holders = [value for value in values if value.get(key) not in (None, "")]  # some servers send "" in place of null
    if not holders:
        raise ImpossibleFault(reason)
    return holders


def drop_each(values: Sequence[Value], key: str, reason: str) -> None:
    """Remove a key from each object that has it. Raises ``ImpossibleFault`` with ``reason`` if none has."""
    for holder in find_holders(values, key, reason):
        del holder[key]


def rename_each(values: Sequence[Value], key: str, name: str) -> None:
    """Replace the model's name in each object that has one. Raises ``ImpossibleFault`` if none has."""
    for holder in find_holders(values, key, NO_MODEL):
        holder[key] = str(name)
