"""Redact the report of a failed test: tracebacks show the arguments of functions, and logs show URLs.

pytest keeps a report as objects that hold texts, in lists and attributes. They are changed in place, before a reporter
or another process sees them.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest

    from aquila.cassettes.redaction.redactor import Redactor

_LONGEST = 20_000  # Rules that are functions take time with the square of a text; longer ones go line by line.


def redact_report(report: pytest.TestReport, redactors: Collection[Redactor]) -> None:
    """Replace in a report what any of the redactors finds to be a secret."""

    def redact_text(text: str) -> str:
        if len(text) > _LONGEST:
            return "".join(map(redact_part, text.splitlines(keepends=True)))
        return redact_part(text)

    def redact_part(text: str) -> str:
        for redactor in redactors:
            text = redactor.redact_shortened_text(text)  # pytest shortens the values that it shows
        return text

    def redact_value(value: Any) -> Any:
        if isinstance(value, str):
            return redact_text(value)
        if isinstance(value, (list, tuple)):
            return type(value)(map(redact_value, value))
        if type(value).__module__.startswith("_pytest."):
            for name, held in vars(value).items():
                if isinstance(held, (str, list, tuple)) or type(held).__module__.startswith("_pytest."):
                    object.__setattr__(value, name, redact_value(held))  # some of them are frozen
        return value

    report.longrepr = redact_value(report.longrepr)
    report.sections = redact_value(report.sections)
