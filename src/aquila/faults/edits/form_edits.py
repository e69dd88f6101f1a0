"""What can be changed in the answers of every wire form, and how the arguments of a tool call are cut."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar, Literal

from aquila.faults.edits.draft import Draft, Value
from aquila.faults.fault import ImpossibleFault

Cut = Literal["length", "content_filter"]
"""Why an answer ends before it is whole, in words for all forms."""

NO_END = "the answer does not say how it ends"
NO_CALL = "the answer calls no tool"
NO_ID = "the tool call has no id"
NO_USAGE = "the answer reports no usage"
NO_MODEL = "the answer does not name its model"


class FormEdits(ABC):
    """Changes what answers of one wire form say, streamed or not.

    Each method changes the parts of a draft, or raises ``ImpossibleFault`` with the reason. A draft may hold any
    JSON: what is not as the form has it is left alone. If there are several tool calls the last one is meant.
    """

    form: ClassVar[str]
    """The name of the wire form."""

    @abstractmethod
    def end(self, draft: Draft, reason: Cut) -> None:
        """Say that the answer was cut off."""

    @abstractmethod
    def silence(self, draft: Draft, refusal: str | None) -> None:
        """Take out all texts and tool calls, and refuse with a text in their place if one is given."""

    @abstractmethod
    def cut_arguments(self, draft: Draft) -> None:
        """Cut the JSON of a tool call's arguments."""

    @abstractmethod
    def rename_tool(self, draft: Draft, name: str) -> None:
        """Call another tool."""

    @abstractmethod
    def drop_call_id(self, draft: Draft) -> None:
        """Leave out the id of a tool call."""

    @abstractmethod
    def drop_usage(self, draft: Draft) -> None:
        """Leave out what tells of tokens."""

    @abstractmethod
    def rename_model(self, draft: Draft, name: str) -> None:
        """Name another model as the one that answers."""

    @abstractmethod
    def write_error(self, before: Sequence[Value]) -> Value:
        """Return the event by which the provider says that it cannot go on, after those ``before`` it."""


def cut_json(text: str) -> str:
    """Return the first half of an object's JSON, which is none. Raises ``ImpossibleFault``."""
    try:
        is_object = isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        is_object = False
    if not is_object:
        raise ImpossibleFault("the arguments of the tool call are no JSON object, so there is nothing to cut")
    return text[: text.index("{") + len(text.strip()) // 2]


def cut_pieces(pieces: Sequence[tuple[Value, str]]) -> None:
    """Cut arguments that came in pieces. Each is an object and its key."""
    left = len(cut_json("".join(holder[key] for holder, key in pieces)))
    for holder, key in pieces:
        holder[key] = holder[key][:left]
        left -= len(holder[key])


def drop_each(values: Sequence[Value], key: str, reason: str, *, put: Callable[[Value], None] | None = None) -> None:
    """Take a key out of objects that have a value there, or ``put`` another. Raises ``ImpossibleFault`` if none has."""
    holders = [value for value in values if value.get(key) is not None]
    if not holders:
        raise ImpossibleFault(reason)
    for holder in holders:
        if put is None:
            holder.pop(key, None)
        else:
            put(holder)


def rename_each(values: Sequence[Value], key: str, name: str) -> None:
    """Put the name of another model in the place of each. Raises ``ImpossibleFault`` if there is none."""
    drop_each(values, key, NO_MODEL, put=lambda holder: holder.update({key: str(name)}))
