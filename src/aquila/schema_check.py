"""Checks of a tool's arguments against a JSON schema that the caller wrote by hand. Pydantic checks all others.

The problems that are found go to the model as text, so their texts are part of the key of the next request in a
recording. They must never change, and the messages of a library do change from version to version. The keywords of
``_DECISIVE`` and ``_KEYWORDS`` are checked, which are those that descriptions of tools use, with ``$ref`` within the
schema. Other keywords, such as ``format`` and ``if``, and references to other documents are left to the tool.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from aquila.lazy_imports import lazy_modules

if TYPE_CHECKING:
    import fractions
else:
    lazy_modules(globals(), "fractions")


@dataclass(frozen=True, slots=True)
class Place:
    """The place of a value in the arguments, with what a check needs to know of the surrounding schema."""

    root: Any
    """The whole schema, for references."""
    path: str = ""
    followed: tuple[str, ...] = ()
    """The references that led to the schema of this value. One that leads back to itself is not followed again."""

    def inside(self, name: str) -> Place:
        """Return the place of a property or an item."""
        return Place(self.root, f"{self.path}.{name}" if self.path else name)

    def says(self, text: str) -> str:
        """Return a text about the value at this place, with its path before it."""
        return f"{self.path}: {text}" if self.path else text


Problems: TypeAlias = Iterator[str]
Check: TypeAlias = Callable[[Any, Any, Mapping[str, Any], Place], Problems]
"""A function from a value, the keyword's argument, the schema with the keyword, and the place, to problems as texts."""


def find_problems(value: Any, schema: Any) -> list[str]:
    """Return the problems of a value under a JSON schema, as texts; an empty list if it is valid."""
    return list(_check_value(value, schema, Place(schema)))


def _check_value(value: Any, schema: Any, place: Place) -> Problems:
    if not isinstance(schema, Mapping):  # True allows everything, False nothing
        if schema is False:
            yield place.says("is not allowed")
        return
    for keyword, check in _DECISIVE.items():
        if keyword in schema and (found := list(check(value, schema[keyword], schema, place))):
            yield from found
            return  # further problems of a value of the wrong kind would only confuse the model
    # By check, because a check that is for several keywords runs once.
    due = {check: schema[keyword] for keyword, check in _KEYWORDS.items() if keyword in schema}
    for check, wanted in due.items():
        yield from check(value, wanted, schema, place)


_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
    "null": (type(None),),
}


def _is_of_type(value: Any, name: str) -> bool:
    if isinstance(value, bool):  # an int in Python, but not a number in JSON
        return name == "boolean"
    # JSON Schema: a number with a zero fractional part, such as 1.0, is an integer.
    if name == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES.get(name, (object,)))


def _is_equal(one: Any, other: Any) -> bool:
    """Whether two values are equal in JSON, where True is not 1."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_is_equal, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_is_equal(value, other[name]) for name, value in one.items())
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def _check_type(value: Any, wanted: Any, schema: Mapping[str, Any], place: Place) -> Problems:
    names = [wanted] if isinstance(wanted, str) else wanted
    if not any(_is_of_type(value, name) for name in names):
        yield place.says(f"must be of type {' or '.join(names)}")


def _check_enum(value: Any, choices: Sequence[Any], schema: Mapping[str, Any], place: Place) -> Problems:
    if not any(_is_equal(value, choice) for choice in choices):
        yield place.says(f"must be one of {', '.join(map(repr, choices))}")


def _check_const(value: Any, wanted: Any, schema: Mapping[str, Any], place: Place) -> Problems:
    if not _is_equal(value, wanted):
        yield place.says(f"must be {wanted!r}")


def _check_reference(value: Any, reference: str, schema: Mapping[str, Any], place: Place) -> Problems:
    if reference in place.followed or not reference.startswith("#"):
        return
    found: Any = place.root
    for part in reference.removeprefix("#").split("/")[1:]:
        # The escapes of a JSON pointer (RFC 6901), to be undone in this order.
        name = part.replace("~1", "/").replace("~0", "~")
        if not isinstance(found, Mapping) or name not in found:
            return
        found = found[name]
    yield from _check_value(value, found, Place(place.root, place.path, (*place.followed, reference)))


def _check_forms(
    value: Any, forms: Sequence[Any], schema: Mapping[str, Any], place: Place, *, one_only: bool = False
) -> Problems:
    problems = [list(_check_value(value, form, place)) for form in forms]
    fitting = problems.count([])
    if fitting == 0:
        yield " or ".join(dict.fromkeys(found[0] for found in problems))
    elif one_only and fitting > 1:
        yield place.says(f"must fit one of the {len(forms)} forms of the schema, and fits {fitting}")


def _check_all_of(value: Any, forms: Sequence[Any], schema: Mapping[str, Any], place: Place) -> Problems:
    for form in forms:
        yield from _check_value(value, form, place)


def _check_not(value: Any, form: Any, schema: Mapping[str, Any], place: Place) -> Problems:
    if not list(_check_value(value, form, place)):
        yield place.says("has a form that the schema excludes")


def _is_multiple(value: float, step: float) -> bool:
    if isinstance(value, int) and isinstance(step, int):
        return value % step == 0
    if isinstance(value, float) and not math.isfinite(value):
        return False
    # By the digits that the model wrote: as binary numbers, 0.3 is no multiple of 0.1.
    return fractions.Fraction(str(value)) % fractions.Fraction(str(step)) == 0


def _limit(kind: str, keeps: Callable[[Any, Any], bool], words: str) -> Check:
    """Return a check of a limit.

    ``kind`` is the type of the values for which it holds, ``keeps`` says whether a value is within it, and ``words`` is
    the text of the problem, with ``{}`` for the limit.
    """

    def check_limit(value: Any, limit: Any, schema: Mapping[str, Any], place: Place) -> Problems:
        if _is_of_type(value, kind) and not keeps(value, limit):
            yield place.says(words.format(limit))

    return check_limit


def _matches(text: str, pattern: str) -> bool:
    try:
        return re.search(pattern, text) is not None
    except re.error:  # a pattern that is valid in JavaScript but not in Python is left to the tool
        return True


def _has_no_repeats(items: list[Any]) -> bool:
    return not any(_is_equal(one, other) for number, one in enumerate(items) for other in items[:number])


def _check_required(value: Any, names: Sequence[str], schema: Mapping[str, Any], place: Place) -> Problems:
    if isinstance(value, dict):
        yield from (place.inside(name).says("is required") for name in names if name not in value)


def _check_properties(value: Any, _: Any, schema: Mapping[str, Any], place: Place) -> Problems:
    """Check each property, for all three keywords that say something about properties."""
    if not isinstance(value, dict):
        return
    properties, patterns = schema.get("properties") or {}, schema.get("patternProperties") or {}
    for name, each in value.items():
        forms = [properties[name]] if name in properties else []
        forms += [form for pattern, form in patterns.items() if _matches(name, pattern)]
        if not forms and schema.get("additionalProperties") is False:
            yield place.inside(name).says("is not a known argument")
        elif not forms:
            forms = [schema.get("additionalProperties", True)]
        for form in forms:
            yield from _check_value(each, form, place.inside(name))


def _check_items(value: Any, _: Any, schema: Mapping[str, Any], place: Place) -> Problems:
    """Check each item, for both keywords that say something about items."""
    if not isinstance(value, list):
        return
    first, rest = schema.get("prefixItems") or (), schema.get("items", True)
    for number, each in enumerate(value):
        yield from _check_value(each, first[number] if number < len(first) else rest, place.inside(str(number)))


# These are checked first. If one fails, no other keyword is checked.
_DECISIVE: Mapping[str, Check] = {"type": _check_type, "enum": _check_enum, "const": _check_const}
_KEYWORDS: Mapping[str, Check] = {
    "$ref": _check_reference,
    "required": _check_required,
    **dict.fromkeys(("properties", "patternProperties", "additionalProperties"), _check_properties),
    **dict.fromkeys(("items", "prefixItems"), _check_items),
    "anyOf": _check_forms,
    "oneOf": functools.partial(_check_forms, one_only=True),
    "allOf": _check_all_of,
    "not": _check_not,
    "minimum": _limit("number", lambda value, limit: value >= limit, "must be at least {}"),
    "maximum": _limit("number", lambda value, limit: value <= limit, "must be at most {}"),
    "exclusiveMinimum": _limit("number", lambda value, limit: value > limit, "must be above {}"),
    "exclusiveMaximum": _limit("number", lambda value, limit: value < limit, "must be below {}"),
    "multipleOf": _limit("number", _is_multiple, "must be a multiple of {}"),
    "minLength": _limit("string", lambda text, limit: len(text) >= limit, "must have at least {} characters"),
    "maxLength": _limit("string", lambda text, limit: len(text) <= limit, "must have at most {} characters"),
    "pattern": _limit("string", _matches, "must match the pattern {}"),
    "minItems": _limit("array", lambda items, limit: len(items) >= limit, "must have at least {} items"),
    "maxItems": _limit("array", lambda items, limit: len(items) <= limit, "must have at most {} items"),
    "uniqueItems": _limit("array", lambda items, wanted: not wanted or _has_no_repeats(items), "has an item twice"),
}
