"""The shape of answers: which fields they have, and of which types, whatever the values are.

The values at one place, such as the items of a list or the events of a stream, share one shape. Objects are told apart
by their field ``type``, so an answer with one tool call less has the same shape.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from aquila.verifying.sdk_types import ANYTHING, SdkType

_WRITTEN_FREELY = frozenset(
    {
        *("args", "arguments", "input", "input_schema", "logit_bias", "metadata", "parameters", "properties"),
        "schema",
    }
)
"""Fields with objects that a model, a tool or an author wrote, so the API does not define their fields."""

_LONGEST_KIND = 80


class Shape:
    """The shape of all values that were seen at one place."""

    __slots__ = ("count", "items", "objects", "types")

    def __init__(self) -> None:
        self.count = 0
        self.types: set[str] = set()
        self.objects: dict[str, ObjectShape] = {}
        """The objects, by their kind."""
        self.items: Shape | None = None
        """The items of the lists, unless all of them were empty."""

    def add(self, value: Any, name: str = "") -> None:
        """Add a value, which stands in a field ``name``."""
        self.count += 1
        self.types.add(type_of(value))
        if isinstance(value, list):
            for each in value:
                if self.items is None:
                    self.items = Shape()
                self.items.add(each)
        elif isinstance(value, dict) and name not in _WRITTEN_FREELY:
            self.objects.setdefault(kind_of(value), ObjectShape()).add(value)


class ObjectShape:
    """The fields of all objects of one kind at one place."""

    __slots__ = ("count", "fields")

    def __init__(self) -> None:
        self.count = 0
        self.fields: dict[str, Shape] = {}

    def add(self, value: dict[str, Any]) -> None:
        """Add an object."""
        self.count += 1
        for name, each in value.items():
            self.fields.setdefault(name, Shape()).add(each, name)


class ShapeChange(NamedTuple):
    """One difference of two shapes. ``what`` is ``gone``, ``new``, ``type`` or ``kind``.

    ``is_critical``: a program that reads the answer through the SDK's types notices it; without these, each other type
    than null is critical. ``depends``: it may come from another kind of content: an answer without a tool call, for
    example, has no field for calls.
    """

    path: str
    what: str
    text: str
    is_critical: bool
    depends: bool = True


def shape_of(values: Iterable[Any]) -> Shape:
    """Return the common shape of some values."""
    shape = Shape()
    for value in values:
        shape.add(value)
    return shape


def type_of(value: Any) -> str:
    """Return the JSON type of a value. Integers and floats are both ``number``, because providers write 1 for 1.0."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    return "string" if isinstance(value, str) else "array" if isinstance(value, list) else "object"


def kind_of(value: dict[str, Any]) -> str:
    """Return the value of an object's field ``type``; empty if it has none, or one too long to be a kind."""
    kind = value.get("type")
    return kind if isinstance(kind, str) and len(kind) <= _LONGEST_KIND else ""


def compare_shapes(recorded: Shape, live: Shape, sdk: SdkType = ANYTHING, path: str = "") -> Iterator[ShapeChange]:
    """Yield the differences between the shapes of recorded and live values.

    ``sdk``: what the SDK expects at this place. ``path``: the place, for messages.
    """
    yield from _compare_types(recorded, live, sdk, path)
    if recorded.items is not None and live.items is not None:
        yield from compare_shapes(recorded.items, live.items, sdk.item(), f"{path}[]")
    for kind, fields in recorded.objects.items():
        if kind in live.objects:
            yield from _compare_fields(fields, live.objects[kind], sdk.variant(kind), _path_of_kind(path, kind))
        else:
            text = f"no {kind or 'such object'} any more"
            yield ShapeChange(_path_of_kind(path, kind), "kind", text, is_critical=False)
    for kind in live.objects:
        if recorded.objects and kind not in recorded.objects:
            unknown = "" if sdk.knows_kind(kind) else ", which the SDK does not know"
            yield ShapeChange(
                _path_of_kind(path, kind), "kind", f"new{unknown}", is_critical=False, depends=not unknown
            )


def _path_of_kind(path: str, kind: str) -> str:
    return f"{path}<{kind}>" if kind else path


def _compare_types(recorded: Shape, live: Shape, sdk: SdkType, path: str) -> Iterator[ShapeChange]:
    new = live.types - recorded.types
    if sdk.is_known:
        wrong = sorted(each for each in new if not sdk.allows(each))
        if wrong:
            text = f"{' or '.join(wrong)}, was {_types(recorded)}; the SDK expects {sdk.describe()}"
            yield ShapeChange(path, "type", text, is_critical=True)
        return
    # Without an SDK's types only the two answers can be compared. A null does not tell the type of a field.
    if new - {"null"} and recorded.types - {"null"}:
        yield ShapeChange(path, "type", f"{_types(live)}, was {_types(recorded)}", is_critical=True)
    elif new:
        yield ShapeChange(path, "type", f"{_types(live)}, was {_types(recorded)}", is_critical=False)


def _types(shape: Shape) -> str:
    return " or ".join(sorted(shape.types))


def _compare_fields(recorded: ObjectShape, live: ObjectShape, sdk: SdkType, path: str) -> Iterator[ShapeChange]:
    for name, then in recorded.fields.items():
        where, field = f"{path}.{name}".removeprefix("."), sdk.field(name)
        now = live.fields.get(name)
        always_there = then.count == recorded.count
        if now is None and field.is_required and always_there:
            yield ShapeChange(where, "gone", f"gone, and the SDK's type {sdk.name} requires it", is_critical=True)
        elif now is None:
            yield ShapeChange(where, "gone", f"gone, was {_types(then)}", is_critical=False)
        else:
            if field.is_required and always_there and now.count < live.count:
                text = f"missing in {live.count - now.count} of {live.count}, and the SDK's type {sdk.name} requires it"
                yield ShapeChange(where, "gone", text, is_critical=True)
            yield from compare_shapes(then, now, field.type, where)
    for name, now in live.fields.items():
        if name not in recorded.fields:
            field = sdk.field(name)
            where = f"{path}.{name}".removeprefix(".")
            wrong = sorted(each for each in now.types if not field.type.allows(each))
            if wrong:
                text = f"new, {' or '.join(wrong)}; the SDK expects {field.type.describe()}"
                yield ShapeChange(where, "type", text, is_critical=True)
            else:
                unknown = "; the SDK does not know it" if sdk.is_known and not field.is_known else ""
                yield ShapeChange(where, "new", f"new, {_types(now)}{unknown}", is_critical=False, depends=not unknown)
