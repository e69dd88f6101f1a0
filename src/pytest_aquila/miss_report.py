"""Group the tests that miss by one change: the change once, the tests, and one command that records them again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias

from aquila.lazy_imports import lazy_modules

if TYPE_CHECKING:
    import pytest

    from pytest_aquila import reporting
else:
    lazy_modules(globals(), reporting="pytest_aquila.reporting")

ChangedRequest: TypeAlias = tuple[str, str, str]
"""What identifies the change, the lines that show it, and the test as it is typed."""

_MOST_TESTS = 10


def write_groups(reporter: pytest.TerminalReporter, changed: Sequence[ChangedRequest]) -> None:
    """Write a paragraph for each change by which several tests miss."""
    terminal = reporting.CleanTerminal(reporter)
    groups: dict[str, tuple[str, dict[str, None]]] = {}
    for group, difference, test in changed:
        groups.setdefault(group, (difference, {}))[1][test] = None
    for difference, tests in groups.values():
        if len(tests) > 1:
            for line in _describe_group(difference, list(tests)):
                terminal.write_line(line, yellow=True)


def _describe_group(difference: str, tests: Sequence[str]) -> Iterator[str]:
    yield f"aquila: {len(tests)} tests miss by the same change:"
    yield from (f"    {line}" for line in difference.splitlines())
    yield from (f"  {test}" for test in tests[:_MOST_TESTS])
    if len(tests) > _MOST_TESTS:
        yield f"  … and {len(tests) - _MOST_TESTS} more"
        tests = list(dict.fromkeys(test.partition("::")[0] for test in tests))
    yield f"  If it is meant, record them again: pytest {shlex.join(tests)} --aquila-record"
