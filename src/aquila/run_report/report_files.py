"""Reads and writes the files of reports."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import cast

from aquila.errors import ConfigError
from aquila.run_report import page
from aquila.run_report.schema import SCHEMA_VERSION, RunReport

_KEYS = {"schema", "aquila", "started", "totals", "tests", "bodies"}
"""Some keys of every report, by which a file of JSON is recognised as one."""


def read_report(path: Path) -> RunReport:
    """Return the report in a JSON file. Raises ``ConfigError`` if there is none, and ``OSError``."""
    try:
        report = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        report = None
    if not isinstance(report, dict) or not report.keys() >= _KEYS:
        raise ConfigError(
            f"{path} is no report in JSON. To write one: pytest --aquila-report={path.with_suffix('.json').name}"
        )
    if report["schema"] != SCHEMA_VERSION:
        raise ConfigError(f"{path} was written by Aquila {report['aquila']}, whose reports this one cannot read")
    return cast(RunReport, report)


def write_report(target: Path, report: RunReport) -> None:
    """Write a report and move it into place in one step, so that readers see the old report or the new one.

    It is written as JSON if the name of ``target`` says so, and else as a page. Raises ``OSError``.
    """
    new = target.with_name(f".{target.name}.{os.getpid()}.new")
    try:
        # A lone surrogate, as in a file name or in the text of a model, cannot be encoded, hence `errors`.
        with new.open("w", encoding="utf-8", errors="replace") as file:
            if target.suffix.lower() == ".json":
                json.dump(report, file, ensure_ascii=False, indent=1)
                file.write("\n")
            else:
                file.write(page.render_page(report))
        new.replace(target)
    finally:
        new.unlink(missing_ok=True)
