"""Checks the JSON report of a run against the schema of reports."""

from __future__ import annotations

from functools import cache
from typing import Any

import jsonschema

from aquila.run_report.json_schema import make_json_schema


@cache
def _validator() -> Any:
    schema = make_json_schema()
    kind = jsonschema.validators.validator_for(schema)
    kind.check_schema(schema)  # takes half a second
    return kind(schema)


def check_report(report: Any) -> None:
    """Raise ``jsonschema.ValidationError`` if a report does not match the schema."""
    _validator().validate(report)
