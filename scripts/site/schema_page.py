"""The part of ``docs/report.md`` that lists the records and keys of ``run.json``."""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Iterator
from typing import Any, Literal, Union, get_args, get_origin, is_typeddict

from aquila.run_report import schema
from aquila.run_report.json_schema import fields_of, find_records, is_optional


def write_schema_page() -> str:
    """Return the records as Markdown: the description of each, and its keys with their types."""
    return "\n".join(_write())


def _write() -> Iterator[str]:
    for record in find_records(schema.RunReport):
        yield f"### {record.__name__}"
        yield ""
        text = re.sub(r"``(.*?)``", r"`\1`", inspect.getdoc(record) or "")
        yield text
        yield ""
        yield "| key | holds | |"
        yield "| --- | --- | --- |"
        for name, field in fields_of(record).items():
            yield f"| `{name}` | {_name_type(field)} | {'may be missing' if is_optional(field) else ''} |"
        yield ""


def _name_type(field: Any) -> str:
    """Return the type of a field in the terms of JSON, for people."""
    if is_optional(field):
        return _name_type(get_args(field)[0])
    origin, parts = get_origin(field), get_args(field)
    if origin is Literal:
        return " or ".join(f"`{each}`" for each in parts)
    if origin in (Union, types.UnionType):
        return " or ".join(map(_name_type, parts))
    if origin is list:
        return f"list of {_name_type(parts[0])}"
    if origin is tuple:
        return f"[{', '.join(map(_name_type, parts))}]"
    if origin is dict:
        return f"object of {_name_type(parts[1])}"
    return {str: "text", int: "number", float: "number", bool: "true or false", Any: "any"}.get(
        field, f"[{field.__name__}](#{field.__name__.lower()})" if is_typeddict(field) else str(field)
    )
