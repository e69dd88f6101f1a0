"""The order of tests in a distributed run: long tests begin first, so that no process is idle at the end."""

from __future__ import annotations

import pytest

from tests.support.durations import begin_with_the_longest

SECONDS = {"b": 30, "e": 20, "g": 50, "h": 20}


@pytest.mark.parametrize(
    ("processes", "expected"), [(1, ["gbehacdfi"]), (2, ["geac", "bhdfi"]), (3, ["gha", "bcd", "efi"])]
)
def test_each_process_begins_with_its_part_of_the_longest(
    pytester: pytest.Pytester, processes: int, expected: list[str]
) -> None:
    marks = {name: f"@pytest.mark.long({SECONDS[name]})\n" if name in SECONDS else "" for name in "abcdefghi"}
    tests = "".join(f"{mark}def test_{name}(): pass\n" for name, mark in marks.items())
    items: list[pytest.Item] = list(pytester.getitems(f"import pytest\n{tests}"))
    begin_with_the_longest(items, processes)
    assert "".join(item.name.removeprefix("test_") for item in items) == "".join(expected)
