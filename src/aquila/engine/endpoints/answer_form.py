"""Finds the field of an answer that has another type than in the API. Used when reading the answer has failed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

Form = type | tuple[type, ...] | dict[str, Any] | list[Any]
"""The form of a value: a type, several types, an object with the forms of its fields, or a list with that of its items.

Instead of any value but an item of a list, None is accepted too: a parser treats it as a missing field.
"""

_NAMES: Mapping[type, str] = {str: "a text", bool: "a boolean", int: "a number", float: "a number", list: "a list"}


class OddField(TypeError):
    """A field of an answer has another type than in the API. The error's text names the path of the field."""


def raise_explained(error: Exception, answer: Any, form: Form, place: str = "the event") -> NoReturn:
    """Raise the ``OddField`` that explains why reading an answer raised ``error``, or ``error`` if no field is odd.

    The other parameters are those of ``find_odd_field``.
    """
    found = None if isinstance(error, OddField) else find_odd_field(answer, form, place)
    if found is None:
        raise error
    raise found from error


def require_form(answer: Any, form: Form, place: str) -> None:
    """Raise ``OddField`` for an answer that does not have a form. The parameters are those of ``find_odd_field``."""
    found = find_odd_field(answer, form, place)
    if found is not None:
        raise found


def find_odd_field(answer: Any, form: Form, place: str = "the event") -> OddField | None:
    """Return the error that names the first field of an answer that does not have its form, or None if all have it.

    ``answer`` is an object of the SDK or JSON. ``place`` names it in the error.
    """
    found = _find(answer, form, "")
    if found is None:
        return None
    path, value, wanted = found
    return OddField(f"{path or place} is {_name_of(value)}, not {wanted}")


def _find(value: Any, form: Form, path: str) -> tuple[str, Any, str] | None:
    """Return the path of the first field without its form, its value, and what is expected there."""
    if isinstance(form, dict):
        if not isinstance(value, Mapping) and not hasattr(value, "model_fields_set"):
            return path, value, "an object"
        for name, inner in form.items():
            field = value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)
            found = None if field is None else _find(field, inner, f"{path}.{name}" if path else name)
            if found is not None:
                return found
        return None
    if isinstance(form, list):
        if not isinstance(value, list):
            return path, value, "a list"
        return next(
            (found for index, item in enumerate(value) if (found := _find(item, form[0], f"{path}[{index}]"))), None
        )
    kinds = form if isinstance(form, tuple) else (form,)
    # `True` is an `int` in Python, and no number in JSON.
    if isinstance(value, kinds) and (not isinstance(value, bool) or bool in kinds):
        return None
    return path, value, " or ".join(dict.fromkeys(map(_name_of_type, kinds)))


def _name_of(value: Any) -> str:
    return "null" if value is None else _name_of_type(type(value))


def _name_of_type(kind: type) -> str:
    return _NAMES.get(kind, "an object")
