"""Takes secrets out of the report of a failed test: tracebacks show the arguments of functions, and logs show URLs.

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


def scrub(report: pytest.TestReport, redactors: Collection[Redactor]) -> None:
    """Take out of a report what any of the redactors takes for a secret."""

    def clean(text: str) -> str:
        if len(text) > _LONGEST:
            return "".join(map(clean_part, text.splitlines(keepends=True)))
        return clean_part(text)

    def clean_part(text: str) -> str:
        for redactor in redactors:
            text = redactor.shortened_text(text)  # pytest shortens the values that it shows
        return text

    def walk(value: Any) -> Any:
        if isinstance(value, str):
            return clean(value)
        if isinstance(value, (list, tuple)):
            return type(value)(map(walk, value))
        if type(value).__module__.startswith("_pytest."):
            for name, held in vars(value).items():
                if isinstance(held, (str, list, tuple)) or type(held).__module__.startswith("_pytest."):
                    object.__setattr__(value, name, walk(held))  # some of them are frozen
        return value

    report.longrepr = walk(report.longrepr)
    report.sections = walk(report.sections)
