"""Code that is written twice, for sync and async callers, stays thin, so that they cannot differ much."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.support.twins import Twins, find_twins, functions_in
from tests.test_layers import SOURCE, modules, trees

MOST_DECISIONS = 3
"""How many decisions two twins may both make: branches, loops that end on a condition, errors that are caught."""

SYNCHRONOUS = """
class Stream:
    def read(self):
        with self.reading():
            while not self.is_over:
                if self.may_wait:
                    self.wait()
                yield from self.take(next(self.chunks))
"""


@cache
def twins_of_the_source() -> list[Twins]:
    folders = {path.parent for path in modules().values() if "async def " in path.read_text(encoding="utf-8")}
    return find_twins(
        function
        for name, path in modules().items()
        if path.parent in folders
        for function in functions_in(trees()[name], path.relative_to(SOURCE))
    )


def test_twins_share_what_they_decide() -> None:
    twins = twins_of_the_source()
    assert {each.asynchronous.place.partition(":")[2] for each in twins} >= {"drive_call_async", "AsyncStream.result"}
    thick = [str(each) for each in twins if len(each.decisions) > MOST_DECISIONS]
    assert thick == [], "move what both decide into one function, method or context manager that both call"


def test_the_guide_for_contributors_says_how_many_twins_there_are() -> None:
    twins = twins_of_the_source()
    lines = sum(len(each.asynchronous.lines) for each in twins)
    alike = sum(len(each.alike) for each in twins)
    guide = " ".join((SOURCE.parent / "CONTRIBUTING.md").read_text(encoding="utf-8").split())
    told = re.search(
        r"about (\d+) pairs; the asynchronous sides have about (\d+) lines together, about (\d+) of", guide
    )
    assert told is not None
    assert [int(number) for number in told.groups()] == pytest.approx([len(twins), lines, alike], rel=0.05)
    assert sum(len(one.decisions) for one in twins) / len(twins) == pytest.approx(1, abs=0.5), "one on average"


@pytest.mark.parametrize("name", ["read", "aread", "read_async", "pull"])
def test_a_twin_is_found_whatever_its_name(name: str) -> None:
    asynchronous = (
        SYNCHRONOUS.replace("Stream", "AsyncStream")
        .replace("def read", f"async def {name}")
        .replace("self.wait()", "await self.wait_async()")
        .replace("next(", "await anext(")
    )
    functions = [
        *functions_in(ast.parse(SYNCHRONOUS), Path("one.py")),
        *functions_in(ast.parse(asynchronous), Path("other.py")),
    ]
    (twins,) = find_twins(functions)
    assert twins.decisions == ["while not self.is_over:", "if self.may_wait:"]
