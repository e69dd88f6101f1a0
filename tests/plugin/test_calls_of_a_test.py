"""A further test with a cassette stays cheap: the functions of Aquila that it calls are counted."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.plugin.conftest import Project

COUNTING = """
import os
import sys
from pathlib import Path

import aquila
import pytest

SOURCES = str(Path(aquila.__file__).parent.parent) + os.sep
PACKAGES = tuple(SOURCES + name + os.sep for name in ("aquila", "pytest_aquila"))

@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item):
    if item.name != "test_third":  # what the first ones load and look up is not counted
        return (yield)
    called = []

    def note(frame, event, _):
        if event == "call" and frame.f_code.co_filename.startswith(PACKAGES):
            called.append(frame.f_code.co_filename.removeprefix(SOURCES) + ": " + frame.f_code.co_qualname)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        return (yield)
    finally:
        sys.setprofile(before)
        Path("called.txt").write_text("\\n".join(called))
"""
TESTS = """
def test_first(aquila_cassette):
    assert post("one") == 1

def test_second(aquila_cassette):
    assert post("two") == 2

def test_third(aquila_cassette):
    assert post("three") == 3

def test_last(aquila_cassette):
    assert post("four") == 4
"""


def test_a_further_test_calls_few_functions(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.record(tests=TESTS).assert_outcomes(passed=4)
    project.pytester.makeconftest(COUNTING)
    # In a process of its own, which joins no other run: what other tests have done in this one would be counted, too.
    monkeypatch.delenv("AQUILA_RUN", raising=False)
    for _ in range(2):  # the first run writes the compiled copies of the cassettes
        run = project.pytester.runpytest_subprocess("-p", "no:xdist")
        run.assert_outcomes(passed=4)
    called = Counter((project.pytester.path / "called.txt").read_text().splitlines())
    # Each is executed once for a test, and no longer in the caches of a processor when the next test comes.
    most = 375
    assert called.total() <= most, (called.total(), called.most_common())
    assert called.total() > most // 2  # else nothing was counted
