"""Reads the JSON report of a run, and checks it against the schema of reports."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema

from aquila.run_report.json_schema import make_json_schema


@cache
def _validator() -> Any:
    schema = make_json_schema()
    kind = jsonschema.validators.validator_for(schema)
    kind.check_schema(schema)  # takes half a second
    return kind(schema)


def read_report(folder: Path) -> Any:
    """Return the report ``run.json`` of a folder. Raises ``jsonschema.ValidationError`` if it breaks the schema."""
    report = json.loads((folder / "run.json").read_text())
    _validator().validate(report)
    assert report["schema"] == 1  # what docs/report.md says to readers
    return report
