"""The part of ``docs/report.md`` that lists the records and keys of ``run.json``."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

from aquila.run_report import schema
from aquila.run_report.json_schema import fields_of, find_records, is_optional, name_type


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
            yield f"| `{name}` | {name_type(field)} | {'may be missing' if is_optional(field) else ''} |"
        yield ""
