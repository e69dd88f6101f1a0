"""Requests that have drifted are grouped by their change, and each group is described."""

from __future__ import annotations

import random
import shlex
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aquila.recording.reporting.drift_groups import describe_report, make_report, record_command


def row(test: str, **more: Any) -> dict[str, Any]:
    empty = {"cassette": "c", "method": "POST", "url": "https://x/y?a=1", "kind": "changed", "text": "", "recording": 1}
    return {"test": test, **empty, "changes": [], "group": "g", "settings": [], **more}


def change(path: str = "n", recorded: str = "1", now: str = "absent", kinds: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"path": path, "recorded": recorded, "now": now, "new_in_every_run": list(kinds)}


def described(*rows: dict[str, Any], width: int = 100) -> list[str]:
    return list(describe_report(make_report(rows), width))


def test_no_drift_is_described_as_none() -> None:
    assert described() == ["drift: none"]


def test_a_change_of_many_tests_is_one_line_with_its_setting_and_one_command() -> None:
    tests = [f"test_app.py::test_{n}" for n in range(12)]
    rows = [row(test, changes=[change()], settings=[["aquila_ignore = n"]]) for test in tests]
    assert described(*rows) == [
        "drift: 12 tests, 1 change",
        "",
        "12 tests: n recorded 1, now absent",
        "  aquila_ignore = n",
        "  or record again: pytest test_app.py --aquila-record",
    ]
    assert described(*rows, width=120)[2:] == [
        "12 tests: n recorded 1, now absent: aquila_ignore = n, or record again: pytest test_app.py --aquila-record"
    ]


def test_groups_with_more_tests_come_first_and_a_setting_must_help_all() -> None:
    one = row("a.py::test_a", group="x", changes=[change("ids[0]", kinds=("uuid",))])
    rows = [
        row("z.py::test_z", changes=[change("q")]),
        {**one, "settings": [["aquila_ignore = ids[0]"], ["aquila_normalize = uuid"]]},
        {**one, "test": "a.py::test_b", "settings": [["aquila_ignore = ids[1]"], ["aquila_normalize = uuid"]]},
    ]
    assert described(*rows) == [
        "drift: 3 tests, 2 changes",
        "",
        "2 tests: ids[0] has a UUID that is new in every run",
        "  aquila_normalize = uuid",
        "  or, if it changed once, record again: pytest a.py::test_a a.py::test_b --aquila-record",
        "",
        "1 test: q recorded 1, now absent: record again: pytest z.py::test_z --aquila-record",
    ]


def test_a_value_that_is_new_in_every_run_is_told_in_one_line() -> None:
    fresh = row("a.py::test_a", group="x", changes=[change("id", kinds=("uuid",))], settings=[["aquila_ignore = id"]])
    assert described(fresh, width=160)[2:] == [
        "1 test: id has a UUID that is new in every run: aquila_ignore = id, or if it changed once, record again: "
        "pytest a.py::test_a --aquila-record"
    ]


def test_each_other_reason_of_a_miss_is_described() -> None:
    rows = [
        row("a.py::test_a", kind="another", group="y"),
        row("b.py::test_b", kind="played_out", group="z", settings=[["aquila_repeat = last"]]),
        row("c.py::test_c", kind="unrecorded"),
        row("d.py::test_d", kind="without_cassette", cassette=""),
        row("d.py::test_d", kind="without_cassette", cassette=""),
    ]
    lines = described(*rows, width=200)
    assert lines[2] == (
        "1 test: no recording has the method and path of POST https://x/y: record again: pytest a.py::test_a "
        "--aquila-record"
    )
    assert lines[4].startswith("1 test: asked more often than it was recorded: aquila_repeat = last, or record again: ")
    assert lines[6:9] == [
        "1 test with nothing recorded for what is asked",
        "    c.py::test_c",
        "  record it: pytest c.py::test_c --aquila-record",
    ]
    assert lines[9].startswith("1 test without a cassette for what is asked: take the fixture aquila_cassette")
    assert [each["reason"] for each in make_report(rows)["unrecorded"]] == ["unrecorded", "without_cassette"]


@pytest.mark.parametrize(
    ("tests", "width", "command"),
    [
        (["a.py::test_b[x y]"], 80, "pytest 'a.py::test_b[x y]' --aquila-record"),
        ([f"a.py::test_{n}" for n in range(11)], 80, "pytest a.py --aquila-record"),
        (["a.py::test_long", "a.py::test_longer"], 40, "pytest a.py --aquila-record"),
        (["a/b/c.py::t", "a/b/d.py::t"], 30, "pytest \\\n  a/b/c.py::t \\\n  a/b/d.py::t \\\n  --aquila-record"),
        ([f"a{n:040}.py::test" for n in range(20)], 80, "pytest --aquila-record"),
    ],
)
def test_the_command_names_the_tests_or_else_their_files(tests: list[str], width: int, command: str) -> None:
    assert record_command(tests, width) == command
    assert shlex.split(command)[0] == "pytest"


texts = st.text(st.characters(codec="ascii", categories=("L", "N", "P", "Zs")), min_size=1, max_size=30)
rows = st.builds(
    row,
    st.tuples(st.sampled_from(["a.py", "folder/b.py"]), texts.map(str.strip).filter(bool)).map("::".join),
    group=st.sampled_from("xyz"),
    kind=st.sampled_from(["changed", "another", "played_out", "unrecorded", "without_cassette"]),
    changes=st.lists(st.builds(change, st.sampled_from("abc"), texts, texts), min_size=1, max_size=8),
    settings=st.lists(st.sampled_from([["aquila_ignore = a"], ["aquila_ignore =", "    a", "    b"]]), max_size=2),
)


@given(st.lists(rows, max_size=8), st.integers(60, 120), st.randoms(use_true_random=False))
def test_lines_fit_the_terminal_and_do_not_depend_on_the_order(
    found: list[dict[str, Any]], width: int, dice: random.Random
) -> None:
    lines = described(*found, width=width)
    assert all(len(line) <= width for line in lines)
    dice.shuffle(found)
    assert described(*found, width=width) == lines
