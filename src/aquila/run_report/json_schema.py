"""The JSON Schema of ``run.json``, generated from the declarations in ``schema.py``."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Iterator
from typing import Any, Literal, NotRequired, Union, get_args, get_origin, is_typeddict

from aquila.run_report import schema

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_PLAIN: dict[Any, dict[str, Any]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    Any: {},
}


def make_json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a report. Unknown keys are allowed, because later versions may add some."""
    definitions = {kind.__name__: _describe_record(kind) for kind in find_records(schema.RunReport)}
    return {
        "$schema": DIALECT,
        "title": "A report of pytest --aquila-report",
        "$ref": f"#/$defs/{schema.RunReport.__name__}",
        "$defs": definitions,
    }


def find_records(kind: Any) -> list[Any]:
    """Return a record and all records within it, each once."""
    found: dict[Any, None] = {}
    waiting = [kind]
    while waiting:
        record = waiting.pop(0)
        if record not in found:
            found[record] = None
            for field in fields_of(record).values():
                waiting += [each for each in _parts_of(field) if is_typeddict(each)]
    return list(found)


def fields_of(record: Any) -> dict[str, Any]:
    """Return the fields of a record with their types; optional ones are ``NotRequired``."""
    return typing.get_type_hints(record, include_extras=True)


def is_optional(field: Any) -> bool:
    """Whether a field may be left out."""
    return get_origin(field) is NotRequired


def _parts_of(field: Any) -> Iterator[Any]:
    yield field
    for part in get_args(field):
        yield from _parts_of(part)


def _describe_record(record: Any) -> dict[str, Any]:
    fields = fields_of(record)
    return {
        "type": "object",
        "description": inspect.getdoc(record) or "",
        "properties": {name: _describe(field) for name, field in fields.items()},
        "required": [name for name, field in fields.items() if not is_optional(field)],
    }


def _describe(field: Any) -> dict[str, Any]:
    if is_optional(field):
        return _describe(get_args(field)[0])
    if is_typeddict(field):
        return {"$ref": f"#/$defs/{field.__name__}"}
    if field in _PLAIN:
        return _PLAIN[field]
    origin, parts = get_origin(field), get_args(field)
    if origin is Literal:
        return {"enum": list(parts)}
    if origin in (Union, types.UnionType):
        return {"anyOf": list(map(_describe, parts))}
    if origin is list:
        return {"type": "array", "items": _describe(parts[0])}
    if origin is tuple:
        count = len(parts)
        return {"type": "array", "prefixItems": list(map(_describe, parts)), "minItems": count, "maxItems": count}
    if origin is dict:
        return {"type": "object", "additionalProperties": _describe(parts[1])}
    raise TypeError(f"the schema of a report has no way to say {field!r}")
